//! Tells the other nodes what a command did here.

use anyhow::Context as _;

use crate::app::stores;
use crate::cli::Failure;
use crate::cluster::message::Message;
use crate::config::Config;

/// Tells them if there is a Redis that nodes share, and gives the words that say so. What was done here is done, also if
/// they cannot be told.
pub(in crate::cli) fn tell(config: &Config, news: Vec<Message>) -> Result<&'static str, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let is_told = runtime.block_on(stores::tell(config, news)).context(
        "this is done here, but the other nodes were not told: run the command on each of them",
    )?;
    Ok(if is_told { "; every gateway that shares the Redis was told" } else { "" })
}
