//! The commands that answer requests, and those that change what answers.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `recommend`
#[derive(Debug, Args)]
pub(crate) struct RecommendArgs {
    /// The workspace folder.
    #[arg(long, default_value = "workspaces/demo", env = "RECGPT_WORKSPACE")]
    pub(crate) workspace: PathBuf,
    /// For whom; without it for nobody in particular.
    #[arg(long, required_unless_present_any = ["text", "session"])]
    pub(crate) user: Option<String>,
    /// What is wanted, such as "waterproof hiking boots", in the place of predicted tags; may be repeated.
    #[arg(long)]
    pub(crate) text: Vec<String>,
    /// Item ids clicked just now, oldest first.
    #[arg(long, value_delimiter = ',')]
    pub(crate) session: Vec<String>,
    /// How many items.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub(crate) n: u32,
    /// Weight of the user tower, 0 to 1; the configuration's by default.
    #[arg(long)]
    pub(crate) beta: Option<f32>,
    /// Say why for each item.
    #[arg(long)]
    pub(crate) explain: bool,
    /// Item ids to leave out.
    #[arg(long, value_delimiter = ',')]
    pub(crate) exclude: Vec<String>,
    /// Whether items of history and session may come again; without it as `[split] exclude_seen` says.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) include_seen: Option<bool>,
    /// Only items of this category path and below; may be repeated.
    #[arg(long)]
    pub(crate) category: Vec<String>,
    /// Only items of this merchant; may be repeated.
    #[arg(long)]
    pub(crate) merchant: Vec<String>,
    /// Least price.
    #[arg(long)]
    pub(crate) min_price: Option<f64>,
    /// Largest price.
    #[arg(long)]
    pub(crate) max_price: Option<f64>,
    /// Items of one category on ten places, 0 for no limit; the configuration's by default.
    #[arg(long)]
    pub(crate) per_category: Option<usize>,
    /// Items of one merchant on ten places, 0 for no limit; the configuration's by default.
    #[arg(long)]
    pub(crate) per_merchant: Option<usize>,
    /// The last places of every ten, for new items; the configuration's by default.
    #[arg(long)]
    pub(crate) new_places: Option<usize>,
}

/// `items`
#[derive(Debug, Args)]
pub(crate) struct ItemsArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub(crate) command: ItemsCommand,
}

/// `items add`
#[derive(Debug, Subcommand)]
pub(crate) enum ItemsCommand {
    /// Keep the items of files and serve them at once, also in a server that runs; the next import makes
    /// them part of the catalogue. An item that is there already is changed.
    Add(ItemsAddArgs),
}

/// `items add`
#[derive(Debug, Args)]
pub(crate) struct ItemsAddArgs {
    /// The workspace folder.
    #[arg(long, default_value = "workspaces/demo", env = "RECGPT_WORKSPACE")]
    pub(crate) workspace: PathBuf,
    /// Raw files of items, read as the workspace's settings say.
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
}

/// `rollback`
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// The workspace folder.
    #[arg(long, default_value = "workspaces/demo", env = "RECGPT_WORKSPACE")]
    pub(crate) workspace: PathBuf,
    /// This release instead of the one before; a later one, too.
    #[arg(long)]
    pub(crate) to: Option<String>,
    /// Only list the releases.
    #[arg(long, conflicts_with = "to")]
    pub(crate) list: bool,
}

/// `serve`
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The workspace folder.
    #[arg(long, default_value = "workspaces/demo", env = "RECGPT_WORKSPACE")]
    pub(crate) workspace: PathBuf,
    /// Address to listen on. There are no API keys yet, so anything but loopback is refused.
    #[arg(long, default_value = "127.0.0.1:8086")]
    pub(crate) listen: SocketAddr,
}
