//! Opens what a workspace holds for answering requests: the pipeline and the writer of reasons.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use events::tables;
use intent::{Lang, ReasonInput, parse_reason, reason_request};
use lm::{LanguageModel, PromptStyle};
use retrieval::{ItemIndex, Popularity, Towers};
use serve::{Artefacts, Fusion, Reasoner, Recommender};
use types::{Timestamp, UserId};

use crate::steps::Context;
use crate::steps::mine::INTERESTS;
use crate::steps::model;
use crate::steps::shop::Shop;
use crate::steps::tag::TAGS;
use crate::steps::train::{TOWERS, TrainedOn};

/// The pipeline over everything that was imported; towers and tags are those of the cut.
pub(crate) fn open_recommender(ctx: &Context) -> Result<Recommender> {
    let shop = Shop::load(ctx)?;
    let end = Timestamp(i64::MAX);
    let histories = shop.store.interactions(&shop.catalogue, &shop.user_ids, end)?;
    let now = Timestamp(histories.iter().map(|i| i.timestamp.0 + 1).max().unwrap_or(0));
    let row = |user_id: &str| {
        let found = shop.user_ids.binary_search_by(|id| id.as_str().cmp(user_id));
        found.ok().map(UserId::from_idx)
    };
    let interests = tables::read_interests(&ctx.ws.path(INTERESTS))
        .context("no interests; run `recgpt mine` first")?
        .into_iter()
        .filter_map(|u| Some((row(&u.profile.user_id)?, u.profile)))
        .collect::<BTreeMap<_, _>>();
    let tags = tables::read_tags(&ctx.ws.path(TAGS))
        .context("no tags; run `recgpt tag` first")?
        .into_iter()
        .filter_map(|u| Some((row(&u.user_id)?, u.tags)))
        .collect::<BTreeMap<_, _>>();
    let towers =
        Towers::load(&ctx.ws.path(TOWERS)).context("no towers; run `recgpt train` first")?;
    TrainedOn::check(ctx, &shop)?;
    let fusion = &ctx.settings.fusion;
    Ok(Recommender::new(Artefacts {
        popularity: Popularity::tuned(&histories, shop.catalogue.len(), now),
        encoder: Box::new(towers),
        index: ItemIndex::load(&ctx.ws.path("index")).context("run `recgpt index` first")?,
        fusion: Fusion {
            beta: fusion.beta,
            quota: fusion.quota,
            merge: fusion.merge,
            per_category: fusion.per_category,
        },
        model_version: format!("{:016x}", ctx.ws.stamp("index") ^ ctx.ws.stamp("tag")),
        catalogue: shop.catalogue,
        taxonomy: shop.taxonomy,
        user_ids: shop.user_ids,
        histories,
        interests,
        tags,
        now,
    })?)
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
