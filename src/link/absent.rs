//! In place of the wire, in a build without the feature `redis`: it refuses to be configured.

use std::convert::Infallible;
use std::future::Ready;

use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::config::redis::Redis;
use crate::link::Answer;
use crate::link::LinkError;

/// There is none.
pub(in crate::link) struct Door(Infallible);

/// There is none.
#[derive(Clone)]
pub(in crate::link) struct Connection(Infallible);

impl Door {
    pub(in crate::link) fn new(_settings: &Redis) -> Result<Self, LinkError> {
        let what =
            "this build was made without the feature redis: take [redis] out, or use another build";
        Err(LinkError::Settings(what.to_owned()))
    }

    pub(in crate::link) fn connect(&self) -> Ready<Result<Connection, LinkError>> {
        match self.0 {}
    }

    pub(in crate::link) fn subscribe(
        &self,
        _channel: &str,
    ) -> Ready<Result<BoxStream<'static, Bytes>, LinkError>> {
        match self.0 {}
    }
}

impl Connection {
    pub(in crate::link) fn ask(&self, _words: &[&[u8]]) -> Ready<Result<Answer, LinkError>> {
        match self.0 {}
    }
}
