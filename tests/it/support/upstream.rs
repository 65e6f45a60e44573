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
}

#[derive(Debug, Default)]
struct State {
    asked: Vec<String>,
    instead: HashMap<String, Instead>,
    held: bool,
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
        while line.trim_end() != "" {
            line.clear();
            reader.read_line(&mut line)?;
        }
        let instead = {
            let mut state = shared.state.lock().unwrap();
            state.asked.push(path.clone());
            let state = shared.changed.wait_while(state, |state| state.held).unwrap();
            state.instead.get(&path).cloned()
        };
        if !answer(&mut out, shared, &path, instead)? {
            return Ok(());
        }
    }
}

/// Answers, and says whether the connection goes on.
fn answer(
    out: &mut TcpStream,
    shared: &Shared,
    path: &str,
    instead: Option<Instead>,
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
        Some(Instead::Hang) => return Ok(false),
        Some(Instead::Silence) => {
            std::thread::park();
            return Ok(false);
        }
        Some(Instead::Redirect(to)) => {
            write!(out, "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")?;
            return Ok(true);
        }
    };
    write!(
        out,
        "HTTP/1.1 {status} X\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )?;
    let sent = if half { body.len() / 2 } else { body.len() };
    out.write_all(body.get(..sent).unwrap_or_default())?;
    Ok(!half)
}
