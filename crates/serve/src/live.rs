//! The recommender that answers now, how items come into it, and how another takes its place.
//!
//! A request takes the one that is there when it begins and keeps it to its end, so a reply is of one
//! version. A newer one is loaded beside it and then put in its place; meanwhile everything answers. Holds
//! both in memory until the last request of the old one has ended.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use types::Item;

use crate::items::check_item;
use crate::{ItemsPut, Recommender, ServeError};

/// What went wrong with the files behind a server.
pub type KeeperError = Box<dyn std::error::Error + Send + Sync>;

/// Artefacts as they were read from where they lie.
pub struct Loaded {
    /// Made of them.
    pub recommender: Recommender,
    /// [`Keeper::mark`] from before they were read.
    pub mark: String,
    /// Behind the kept items that were read.
    pub position: u64,
}

/// Keeps the artefacts where no crash loses them, and knows when there are newer ones.
pub trait Keeper: Send + Sync {
    /// Names what lies there now: another mark, other artefacts. Asked every second.
    ///
    /// # Errors
    /// When it cannot be read.
    fn mark(&self) -> Result<String, KeeperError>;

    /// Reads everything.
    ///
    /// # Errors
    /// When something is missing or does not fit together; then nothing has changed.
    fn load(&self) -> Result<Loaded, KeeperError>;

    /// Keeps items; they are safe when this returns.
    ///
    /// # Errors
    /// When they could not be written; then they are not kept.
    fn keep(&self, items: &[Item]) -> Result<(), KeeperError>;

    /// The items that were kept since `position`, and the position behind them.
    ///
    /// # Errors
    /// When they cannot be read.
    fn kept_since(&self, position: u64) -> Result<(Vec<Item>, u64), KeeperError>;
}

/// What became of a look at the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refreshed {
    /// There was nothing new.
    Same,
    /// Items that others had put.
    Items(ItemsPut),
    /// Another version answers now.
    Swapped,
}

/// The recommender that answers now.
pub struct Live {
    current: RwLock<Arc<Recommender>>,
    keeper: Option<Box<dyn Keeper>>,
    change: Mutex<Change>, // one change at a time; never held while artefacts are loaded
    loading: Mutex<()>,    // one load at a time
}

/// What has been taken from the keeper.
#[derive(Default)]
struct Change {
    mark: String,
    position: u64,
    /// The mark of artefacts that could not be loaded: not tried again until it changes.
    failed: Option<String>,
}

impl Live {
    /// A recommender that stays as it is.
    #[must_use]
    pub fn fixed(recommender: Recommender) -> Self {
        Self {
            current: RwLock::new(Arc::new(recommender)),
            keeper: None,
            change: Mutex::default(),
            loading: Mutex::default(),
        }
    }

    /// What `keeper` has now, and whatever it will have.
    ///
    /// # Errors
    /// [`ServeError::Keeper`] when it cannot be loaded.
    pub fn open(keeper: Box<dyn Keeper>) -> Result<Self, ServeError> {
        let Loaded { recommender, mark, position } = keeper.load().map_err(ServeError::Keeper)?;
        let live = Self { keeper: Some(keeper), ..Self::fixed(recommender) };
        *live.changing() = Change { mark, position, failed: None };
        Ok(live)
    }

    /// Whether nothing is behind it that may change.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.keeper.is_none()
    }

    /// The recommender for one request.
    #[must_use]
    pub fn recommender(&self) -> Arc<Recommender> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps items, and then puts them on sale: whoever asks next finds them.
    ///
    /// # Errors
    /// [`ServeError::Item`] with the first that is wrong, [`ServeError::Keeper`] when they could not be
    /// kept; then none of them is there. [`ServeError::Fixed`] without a keeper.
    pub fn put_items(&self, items: Vec<Item>) -> Result<ItemsPut, ServeError> {
        let keeper = self.keeper()?;
        items.iter().try_for_each(check_item)?;
        let _change = self.changing();
        keeper.keep(&items).map_err(ServeError::Keeper)?;
        self.recommender().put_items(items)
    }

    /// Takes over what is new with the keeper. What could not be loaded before is tried again only where
    /// `again` says so.
    ///
    /// # Errors
    /// [`ServeError::Keeper`] when it cannot be loaded; then everything stays as it was.
    pub fn refresh(&self, again: bool) -> Result<Refreshed, ServeError> {
        let keeper = self.keeper()?;
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let mark = keeper.mark().map_err(ServeError::Keeper)?;
        if self.changing().mark == mark {
            return self.take_items(keeper);
        }
        if !again && self.changing().failed.as_ref() == Some(&mark) {
            return Ok(Refreshed::Same);
        }
        match keeper.load() {
            Ok(loaded) => self.swap(keeper, loaded).map(|()| Refreshed::Swapped),
            Err(error) => {
                self.changing().failed = Some(mark);
                Err(ServeError::Keeper(error))
            }
        }
    }

    /// Items that another program has put.
    fn take_items(&self, keeper: &dyn Keeper) -> Result<Refreshed, ServeError> {
        let mut change = self.changing();
        let (items, position) = keeper.kept_since(change.position).map_err(ServeError::Keeper)?;
        change.position = position; // an item that cannot be put is not tried every second
        let put = self.recommender().put_items(items)?;
        let is_same = put == ItemsPut::default();
        Ok(if is_same { Refreshed::Same } else { Refreshed::Items(put) })
    }

    fn swap(&self, keeper: &dyn Keeper, loaded: Loaded) -> Result<(), ServeError> {
        let Loaded { recommender, mark, position } = loaded;
        let mut change = self.changing();
        // what was put while it was loaded
        let (items, position) = keeper.kept_since(position).map_err(ServeError::Keeper)?;
        recommender.put_items(items)?;
        *change = Change { mark, position, failed: None };
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *current, Arc::new(recommender));
        drop(current);
        drop(old); // may free much; nobody waits for it
        Ok(())
    }

    fn keeper(&self) -> Result<&dyn Keeper, ServeError> {
        self.keeper.as_deref().ok_or(ServeError::Fixed)
    }

    fn changing(&self) -> MutexGuard<'_, Change> {
        self.change.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
