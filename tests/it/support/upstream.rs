//! A module proxy that does what a test tells it: serves a tree, counts, waits, fails, lies.

use std::collections::HashMap;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;

/// What is done with a request instead of serving the file.
#[derive(Debug, Clone)]
pub(crate) enum Instead {
    /// A status with a text.
    Status(u16, &'static str),
    /// Other bytes.
    Bytes(Vec<u8>),
    /// The head announces everything, and half of the body comes.
    Half,
    /// The connection is closed without a word.
    Hang,
    /// Nothing comes for as long as the upstream lives.
    Silence,
    /// Sent elsewhere.
    Redirect(String),
    /// These bytes, and the end of the connection.
    Raw(&'static str),
    /// The head at once, and then a byte every 100 ms, with so much white space behind the file that it takes a minute.
    Drip,
    /// A head without a length, and bytes for as long as somebody takes them.
    Endless,
    /// The connection is reset before the answer.
    Reset,
    /// Something so many times, and then the file again.
    Times(usize, Box<Self>),
}

impl Instead {
    /// So many times, and then the file again.
    pub(crate) fn times(self, times: usize) -> Self {
        Self::Times(times, Box::new(self))
    }
}

#[derive(Debug, Default)]
struct State {
    asked: Vec<String>,
    heads: Vec<String>,
    instead: HashMap<String, Instead>,
    tags: HashMap<String, &'static str>,
    always: Option<Instead>,
    held: bool,
}

impl State {
    /// What is done with a request for a path.
    fn choose(&mut self, path: &str) -> Option<Instead> {
        let found = self.instead.get_mut(path).or(self.always.as_mut())?;
        match found {
            Instead::Times(0, _) => None,
            Instead::Times(left, what) => {
                *left -= 1;
                Some(what.as_ref().clone())
            }
            other => Some(other.clone()),
        }
    }
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
}

/// An upstream on a free loopback port; it lives as long as the process.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Upstream {
    /// Serves the files below a root.
    pub(crate) fn serve(root: impl Into<PathBuf>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Mutex::new(State::default());
        let shared = Arc::new(Shared { root: root.into(), state, changed: Condvar::new() });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || {
                    // a client that hangs up is the client's business
                    let _gone = converse(&stream, &shared);
                });
            }
        });
        Self { address, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every path that was asked for, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().asked.clone()
    }

    /// How often paths with an ending were asked for.
    pub(crate) fn count(&self, ending: &str) -> usize {
        self.asked().iter().filter(|path| path.ends_with(ending)).count()
    }

    /// From now on a path gets something else; `None` for the file again.
    pub(crate) fn instead(&self, path: &str, what: Option<Instead>) {
        let mut state = self.shared.state.lock().unwrap();
        match what {
            Some(what) => state.instead.insert(path.to_owned(), what),
            None => state.instead.remove(path),
        };
    }

    /// From now on the file at a path has an entity tag, and whoever knows it is told "not modified".
    pub(crate) fn tag(&self, path: &str, tag: &'static str) {
        self.shared.state.lock().unwrap().tags.insert(path.to_owned(), tag);
    }

    /// The `If-None-Match` of each request for a path, in order; empty if there was none.
    pub(crate) fn tags_told(&self, path: &str) -> Vec<String> {
        let state = self.shared.state.lock().unwrap();
        let heads = state.asked.iter().zip(&state.heads).filter(|(asked, _)| *asked == path);
        heads.map(|(_, head)| tag_told(head).to_owned()).collect()
    }

    /// From now on every path without a script of its own gets something else; `None` for the files again.
    pub(crate) fn always(&self, what: Option<Instead>) {
        self.shared.state.lock().unwrap().always = what;
    }

    /// The whole head of every request, in order.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().heads.clone()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers wait from now on.
    pub(crate) fn hold(&self) {
        self.shared.state.lock().unwrap().held = true;
    }

    /// Answers that wait go out.
    pub(crate) fn release(&self) {
        self.shared.state.lock().unwrap().held = false;
        self.shared.changed.notify_all();
    }
}

fn converse(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut out = stream.try_clone()?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut head = line.clone();
        while line.trim_end() != "" {
            line.clear();
            reader.read_line(&mut line)?;
            head.push_str(&line);
        }
        let told = tag_told(&head).to_owned();
        let (instead, tag) = {
            let mut state = shared.state.lock().unwrap();
            state.asked.push(path.clone());
            state.heads.push(head);
            let mut state = shared.changed.wait_while(state, |state| state.held).unwrap();
            (state.choose(&path), state.tags.get(&path).copied())
        };
        if instead.is_none() && tag.is_some_and(|tag| tag == told) {
            write!(out, "HTTP/1.1 304 Not Modified\r\nETag: {told}\r\n\r\n")?;
            continue;
        }
        if !answer(&mut out, (shared, &path), instead, tag)? {
            return Ok(());
        }
    }
}

/// What a head says in `If-None-Match`.
fn tag_told(head: &str) -> &str {
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    let mut told = fields.filter(|(name, _)| name.eq_ignore_ascii_case("if-none-match"));
    told.next().map_or("", |(_, value)| value)
}

/// Sends the head and then very little, for as long as the other side listens.
fn drip(out: &mut TcpStream, body: &[u8]) -> std::io::Result<bool> {
    write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())?;
    for byte in body {
        out.write_all(&[*byte])?;
        std::thread::park_timeout(std::time::Duration::from_millis(100));
    }
    Ok(true)
}

/// Ends a connection with a reset instead of a goodbye.
pub(crate) fn reset(stream: TcpStream) {
    stream.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::from_std(stream).unwrap();
        stream.set_zero_linger().unwrap();
    });
}

/// Answers, and says whether the connection goes on.
fn answer(
    out: &mut TcpStream,
    (shared, path): (&Shared, &str),
    instead: Option<Instead>,
    tag: Option<&str>,
) -> std::io::Result<bool> {
    let file = || std::fs::read(shared.root.join(path.trim_start_matches('/').replace("%21", "!")));
    let (status, body, half) = match instead {
        None => match file() {
            Ok(bytes) => (200, bytes, false),
            Err(_) => (404, format!("not found: {path}: no such file").into_bytes(), false),
        },
        Some(Instead::Status(status, text)) => (status, text.as_bytes().to_vec(), false),
        Some(Instead::Bytes(bytes)) => (200, bytes, false),
        Some(Instead::Half) => (200, file()?, true),
        Some(Instead::Hang | Instead::Times(..)) => return Ok(false),
        Some(Instead::Silence) => {
            std::thread::park();
            return Ok(false);
        }
        Some(Instead::Raw(bytes)) => {
            out.write_all(bytes.as_bytes())?;
            return Ok(false);
        }
        Some(Instead::Endless) => {
            let spaces = vec![b' '; 64 * 1024];
            out.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            loop {
                out.write_all(&spaces)?;
            }
        }
        Some(Instead::Drip) => return drip(out, &[file()?, vec![b' '; 600]].concat()),
        Some(Instead::Reset) => {
            reset(out.try_clone()?);
            return Ok(false);
        }
        Some(Instead::Redirect(to)) => {
            write!(out, "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")?;
            return Ok(true);
        }
    };
    let tag = tag.map_or_else(String::new, |tag| format!("ETag: {tag}\r\n"));
    write!(
        out,
        "HTTP/1.1 {status} X\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n{tag}\r\n",
        body.len()
    )?;
    let sent = if half { body.len() / 2 } else { body.len() };
    out.write_all(body.get(..sent).unwrap_or_default())?;
    Ok(!half)
}
