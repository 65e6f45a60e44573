//! Hands a body out in slices and closes the record with its last byte.

use std::fs::File;
use std::io;
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;

use actix_web::body::BodySize;
use actix_web::body::MessageBody;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use rustix::io::Errno;
use rustix::io::ReadWriteFlags;

use crate::gateway::account::Closer;
use crate::gateway::respond::Body;
use crate::head::Method;
use crate::tasks::TaskGone;
use crate::tasks::Tasks;

type Reading = BoxFuture<'static, Result<io::Result<Bytes>, TaskGone>>;

/// A body on its way out.
pub struct Outgoing {
    body: Body,
    at: u64,
    wanted: bool,
    closer: Closer,
    reading: Option<Reading>,
    tasks: Tasks,
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "a body at byte {} of {:?}", self.at, self.body.len())
    }
}

impl Outgoing {
    /// A body for an answer to a method: HEAD has the length and no bytes.
    pub fn new(body: Body, method: Method, closer: Closer, tasks: Tasks) -> Self {
        let wanted = method == Method::Get;
        Self { body, at: 0, wanted, closer, reading: None, tasks }
    }

    fn take(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let Some(len) = self.body.len().filter(|_| self.wanted) else { return Poll::Ready(None) };
        if self.at >= len {
            return Poll::Ready(None);
        }
        let size = usize::try_from(len - self.at).unwrap_or(usize::MAX).min(SLICE_BYTES);
        let slice = match &self.body {
            Body::None => return Poll::Ready(None),
            Body::Memory(bytes) => Ok(part(bytes, self.at, size)),
            Body::Part { content, from, .. } => {
                let place = from + self.at;
                match (content.in_memory(), content.as_file()) {
                    (Some(bytes), _) => Ok(part(bytes, place, size)),
                    (None, Some(file)) => {
                        let file = Arc::clone(file);
                        match self.poll_file(cx, &file, place, size) {
                            Poll::Ready(slice) => slice,
                            Poll::Pending => return Poll::Pending,
                        }
                    }
                    (None, None) => Ok(Bytes::new()),
                }
            }
        };
        Poll::Ready(Some(slice.and_then(|slice| {
            if slice.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(slice) }
        })))
    }

    /// Reads what is in the page cache at once, and the rest in the blocking pool.
    fn poll_file(
        &mut self,
        cx: &mut Context<'_>,
        file: &Arc<File>,
        place: u64,
        size: usize,
    ) -> Poll<io::Result<Bytes>> {
        if self.reading.is_none() {
            if let Some(read) = read_at_once(file, place, size) {
                return Poll::Ready(read);
            }
            let (file, tasks) = (Arc::clone(file), self.tasks.clone());
            let read = move || read_blocking(&file, place, size);
            self.reading = Some(Box::pin(async move { tasks.block("read", read).await }));
        }
        let Some(reading) = self.reading.as_mut() else { return Poll::Pending };
        let read = std::task::ready!(reading.as_mut().poll(cx));
        self.reading = None;
        Poll::Ready(read.unwrap_or_else(|gone| Err(io::Error::other(gone))))
    }
}

impl MessageBody for Outgoing {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        self.body.len().map_or(BodySize::None, BodySize::Sized)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let taken = std::task::ready!(self.take(cx));
        match &taken {
            Some(Ok(slice)) => {
                let count = slice.len() as u64;
                self.at += count;
                self.closer.sent(count);
            }
            Some(Err(error)) => self.closer.failed(error),
            None => {}
        }
        Poll::Ready(taken)
    }
}

fn part(bytes: &Bytes, from: u64, size: usize) -> Bytes {
    let from = usize::try_from(from).unwrap_or(usize::MAX).min(bytes.len());
    let to = from.saturating_add(size).min(bytes.len());
    bytes.slice(from..to)
}

/// `None` if reading would have to wait for the disk.
fn read_at_once(file: &File, place: u64, size: usize) -> Option<io::Result<Bytes>> {
    let mut buffer = vec![0_u8; size];
    let mut slices = [IoSliceMut::new(&mut buffer)];
    match rustix::io::preadv2(file, &mut slices, place, ReadWriteFlags::NOWAIT) {
        Ok(count) => {
            buffer.truncate(count);
            Some(Ok(Bytes::from(buffer)))
        }
        // not in the page cache, or a file system that cannot tell
        Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INTR) => None,
        Err(error) => Some(Err(error.into())),
    }
}

fn read_blocking(file: &File, place: u64, size: usize) -> io::Result<Bytes> {
    let mut buffer = vec![0_u8; size];
    let count = file.read_at(&mut buffer, place)?;
    buffer.truncate(count);
    Ok(Bytes::from(buffer))
}

/// The framework copies each slice into its write buffer: larger ones would only make that grow.
const SLICE_BYTES: usize = 64 * 1024;
