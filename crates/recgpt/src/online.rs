//! Opens what a workspace holds for answering requests: the pipeline and the writer of reasons.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::Result;
use events::tables;
use intent::{Lang, ReasonInput, parse_reason, reason_request};
use lm::{LanguageModel, PromptStyle};
use retrieval::{ItemIndex, Popularity, Towers};
use serve::{Artefacts, Encoder, Fusion, Reasoner, Recommender, Seen};
use types::{Catalogue, Interaction, Item, ItemId, Timestamp, UserId};

use crate::settings::Settings;
use crate::steps::mine::INTERESTS;
use crate::steps::model;
use crate::steps::releases::Release;
use crate::steps::shop::Shop;
use crate::steps::tag::TAGS;
use crate::steps::train::TOWERS;
use crate::steps::{Context, added};

/// [`open_release`] with the items that came since the import.
pub(crate) fn open_recommender(ctx: &Context) -> Result<Recommender> {
    let release = Release::current(ctx)?;
    let recommender = open_release(ctx, &release)?;
    recommender.put_items(added::pending(&ctx.ws)?.0)?;
    Ok(recommender)
}

/// The pipeline over everything that was imported, by the towers and tags of a release.
///
/// Users and items stand in the order of the release's training, and behind them those that were imported
/// since: new items are found by their content, new users by their history. Items that are gone keep
/// their place and are never found.
fn open_release(ctx: &Context, release: &Release) -> Result<Recommender> {
    let shop = Shop::load(ctx)?;
    let trained = release.trained_ids()?;
    let mut towers = Towers::load(&release.path(TOWERS))?;
    let mut index = ItemIndex::load(&release.path("index"))?;
    let (items, gone) = in_order(&trained.items, shop.catalogue.items());
    for item in &items[trained.items.len()..] {
        index.insert(&towers.item_vector(item))?;
        Encoder::push_item(&mut towers, item);
    }
    let repeat_weight = towers.repeat_weight();
    gone.into_iter().for_each(|item| {
        index.remove(item);
    });
    let catalogue = Catalogue::new(items)?;
    let (user_ids, histories) = histories(&shop, &catalogue, trained.users)?;
    let rows: HashMap<&str, UserId> =
        user_ids.iter().enumerate().map(|(i, id)| (id.as_str(), UserId::from_idx(i))).collect();
    let now = Timestamp(histories.iter().map(|i| i.timestamp.0 + 1).max().unwrap_or(0));
    let interests = tables::read_interests(&release.path(INTERESTS))?
        .into_iter()
        .filter_map(|u| Some((*rows.get(u.profile.user_id.as_str())?, u.profile)))
        .collect::<BTreeMap<_, _>>();
    let tags = tables::read_tags(&release.path(TAGS))?
        .into_iter()
        .filter_map(|u| Some((*rows.get(u.user_id.as_str())?, u.tags)))
        .collect::<BTreeMap<_, _>>();
    Ok(Recommender::new(Artefacts {
        popularity: Popularity::tuned(&histories, catalogue.len(), now),
        encoder: Box::new(towers),
        index,
        fusion: fusion(&ctx.settings, repeat_weight),
        model_version: release.name.clone(),
        catalogue,
        taxonomy: shop.taxonomy,
        user_ids,
        histories,
        interests,
        tags,
        now,
    })?)
}

fn fusion(settings: &Settings, of_towers: f32) -> Fusion {
    let seen = Seen::included(!settings.split.exclude_seen);
    let settings = &settings.fusion;
    Fusion {
        seen,
        beta: settings.beta,
        wish_beta: settings.wish_beta,
        repeat_weight: settings.repeat_weight.unwrap_or(of_towers),
        quota: settings.quota,
        merge: settings.merge,
        per_category: settings.per_category,
        per_merchant: settings.per_merchant,
        new_places: settings.new_places,
        new_days: settings.new_days,
    }
}

/// The items of `trained` in that order and the others behind them; and which of them are no longer there.
fn in_order(trained: &[String], items: &[Item]) -> (Vec<Item>, Vec<ItemId>) {
    let there: HashMap<&str, &Item> = items.iter().map(|i| (i.item_id.as_str(), i)).collect();
    let known: HashSet<&str> = trained.iter().map(String::as_str).collect();
    let (mut ordered, mut gone) = (Vec::with_capacity(items.len()), Vec::new());
    for (row, id) in trained.iter().enumerate() {
        ordered.push(there.get(id.as_str()).map_or_else(
            || {
                gone.push(ItemId::from_idx(row));
                Item { item_id: id.clone(), ..Item::default() }
            },
            |item| (*item).clone(),
        ));
    }
    ordered.extend(items.iter().filter(|i| !known.contains(i.item_id.as_str())).cloned());
    (ordered, gone)
}

/// The users of `trained` in that order and the others behind them, and what all of them did.
fn histories(
    shop: &Shop,
    catalogue: &Catalogue,
    trained: Vec<String>,
) -> Result<(Vec<String>, Vec<Interaction>)> {
    let mut all = shop.store.interactions(catalogue, &shop.user_ids, Timestamp(i64::MAX))?;
    if trained == shop.user_ids {
        return Ok((trained, all));
    }
    let mut user_ids = trained;
    let mut rows: HashMap<String, UserId> =
        user_ids.iter().enumerate().map(|(i, id)| (id.clone(), UserId::from_idx(i))).collect();
    let mut row_of = Vec::with_capacity(shop.user_ids.len());
    for id in &shop.user_ids {
        row_of.push(*rows.entry(id.clone()).or_insert_with(|| {
            user_ids.push(id.clone());
            UserId::from_idx(user_ids.len() - 1)
        }));
    }
    all.iter_mut().for_each(|i| i.user = row_of[i.user.idx()]);
    all.sort_by_key(|i| i.user); // stable: each user's stay in time order
    Ok((user_ids, all))
}

/// Writes reasons with the language model; what fails its checks is left to the template.
pub(crate) fn open_reasoner(ctx: &Context) -> Result<Box<dyn Reasoner>> {
    let lang = model::language(ctx)?;
    Ok(Box::new(ModelReasoner { model: model::open(ctx)?, lang }))
}

struct ModelReasoner {
    model: Box<dyn LanguageModel>,
    lang: Lang,
}

impl Reasoner for ModelReasoner {
    fn reasons(&self, inputs: &[ReasonInput<'_>]) -> Vec<Option<String>> {
        let style: PromptStyle = self.model.style();
        let requests: Vec<lm::Request> =
            inputs.iter().map(|input| reason_request(style, self.lang, input, 40)).collect();
        let replies = self.model.generate(&requests);
        inputs
            .iter()
            .zip(replies)
            .map(|(input, reply)| match reply {
                Ok(completion) => parse_reason(style, &completion.text, input).ok(),
                Err(error) => {
                    tracing::warn!(%error, "no reason from the language model");
                    None
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use types::{Item, ItemId};

    use super::in_order;

    #[test]
    fn rows_are_those_of_the_training_and_new_items_stand_behind() {
        let item = |id: &str| Item { item_id: id.to_owned(), ..Item::default() };
        let trained = ["b", "gone", "a"].map(str::to_owned);
        let (items, gone) = in_order(&trained, &[item("a"), item("new"), item("b")]);
        let ids: Vec<&str> = items.iter().map(|i| i.item_id.as_str()).collect();
        assert_eq!((ids, gone), (vec!["b", "gone", "a", "new"], vec![ItemId(1)]));
    }
}
