//! A cable to a server: what comes at its near end goes to the far one, until it is cut; it can be slow.

use std::io::Read as _;
use std::io::Write as _;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

/// A cable whose near end keeps its address, cut or not.
#[derive(Debug)]
pub(crate) struct Cable {
    near: SocketAddr,
    far: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    cut: bool,
    delay: Duration,
    ends: Vec<TcpStream>,
}

impl Cable {
    /// A cable to `http://ADDRESS`.
    pub(crate) fn to(url: &str) -> Self {
        let far = url.trim_start_matches("http://").parse().unwrap();
        // a cable that is cut wants its port back
        let listener = TcpListener::bind(("127.0.0.1", super::port())).unwrap();
        let near = listener.local_addr().unwrap();
        let cable = Self { near, far, shared: Arc::default() };
        cable.accept(listener);
        cable
    }

    /// The near end.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.near)
    }

    /// Nobody listens any more, and every connection ends.
    pub(crate) fn cut(&self) {
        let ends = {
            let mut state = self.shared.state.lock().unwrap();
            state.cut = true;
            std::mem::take(&mut state.ends)
        };
        for end in ends {
            // gone already is as good
            let _gone = end.shutdown(Shutdown::Both);
        }
        // wakes whoever accepts, so that it sees the cut and stops listening
        let _woken = TcpStream::connect(self.near);
    }

    /// As before, at the same address.
    pub(crate) fn mend(&self) {
        self.shared.state.lock().unwrap().cut = false;
        let mut listener = None;
        super::until("the near end is free", || {
            listener = TcpListener::bind(self.near).ok();
            listener.is_some()
        });
        self.accept(listener.unwrap());
    }

    /// Answers come this much later.
    pub(crate) fn slow(&self, delay: Duration) {
        self.shared.state.lock().unwrap().delay = delay;
    }

    fn accept(&self, listener: TcpListener) {
        let (far, shared) = (self.far, Arc::clone(&self.shared));
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(far) else { continue };
                let mut state = shared.state.lock().unwrap();
                if state.cut {
                    return;
                }
                state.ends.extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
                drop(state);
                carry(near.try_clone().unwrap(), far.try_clone().unwrap(), None);
                carry(far, near, Some(Arc::clone(&shared)));
            }
        });
    }
}

/// Carries bytes one way until an end closes; the way back may be slow.
fn carry(mut from: TcpStream, mut to: TcpStream, slow: Option<Arc<Shared>>) {
    std::thread::spawn(move || {
        let mut buffer = [0_u8; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if let Some(shared) = &slow {
                let delay = shared.state.lock().unwrap().delay;
                std::thread::park_timeout(delay);
            }
            if to.write_all(buffer.get(..count).unwrap_or_default()).is_err() {
                break;
            }
        }
        let _gone = to.shutdown(Shutdown::Both);
    });
}
