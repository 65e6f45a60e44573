//! The list syntax of GOPROXY: entries joined by `,` (go on after 404 and 410 only) or `|` (go on after anything).

/// Why a text is no list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyListError {
    /// There is no entry at all.
    #[error("the list has no entry")]
    Empty,
    /// An entry that is neither a word of the list nor a URL of a proxy.
    #[error("{0} is no proxy: write https://HOST, http://HOST, file:///DIRECTORY, direct or off")]
    Entry(String),
}

/// A list of proxies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyList {
    /// In the order they are asked.
    pub entries: Vec<ProxyEntry>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyEntry {
    /// Whom to ask.
    pub target: ProxyTarget,
    /// What must happen for the next entry to be asked.
    pub fall_back: FallBack,
}

/// Whom an entry names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyTarget {
    /// A module proxy.
    Url(String),
    /// The origin of a module itself.
    Direct,
    /// Nobody: the list ends.
    Off,
}

/// When the next entry is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FallBack {
    /// After 404 and 410 only.
    OnNotFound,
    /// After any failure.
    OnAnyError,
}

impl ProxyList {
    /// Reads a list as the go command does: blanks around entries are dropped, empty entries skipped, and an entry
    /// that looks like a host gets `https://`. `direct` and `off` end it: what follows is neither asked nor judged.
    pub fn parse(text: &str) -> Result<Self, ProxyListError> {
        let mut entries = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let at = rest.find([',', '|']).unwrap_or(rest.len());
            let (entry, after) = rest.split_at_checked(at).unwrap_or((rest, ""));
            let fall_back =
                if after.starts_with('|') { FallBack::OnAnyError } else { FallBack::OnNotFound };
            rest = after.get(1..).unwrap_or_default();
            let target = match entry.trim() {
                "" => continue,
                "direct" => ProxyTarget::Direct,
                "off" => ProxyTarget::Off,
                url => ProxyTarget::Url(url_of(url)?),
            };
            let last = matches!(target, ProxyTarget::Direct | ProxyTarget::Off);
            entries.push(ProxyEntry { target, fall_back });
            if last {
                break;
            }
        }
        if entries.is_empty() { Err(ProxyListError::Empty) } else { Ok(Self { entries }) }
    }
}

fn url_of(entry: &str) -> Result<String, ProxyListError> {
    let refused = || {
        // an entry may hold a password, and errors are printed
        let shown = entry.rsplit_once('@').map_or(entry, |(_secret, host)| host);
        ProxyListError::Entry(shown.to_owned())
    };
    let looks_like_a_host = entry.contains(['.', ':', '/']) && !entry.contains(":/");
    let full = if looks_like_a_host && !entry.starts_with('/') {
        format!("https://{entry}")
    } else {
        entry.to_owned()
    };
    let known = ["https://", "http://", "file:///"].iter().any(|scheme| full.starts_with(scheme));
    if known && url::Url::parse(&full).is_ok() { Ok(full) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_repeated() {
        let told = ProxyList::parse("ftp://me:hunter2@goproxy.example").unwrap_err().to_string();
        assert!(
            told.starts_with("goproxy.example is no proxy") && !told.contains("hunter2"),
            "{told}"
        );
    }

    fn short(text: &str) -> String {
        let Ok(list) = ProxyList::parse(text) else { return "error".to_owned() };
        let entry = |entry: &ProxyEntry| {
            let target = match &entry.target {
                ProxyTarget::Url(url) => url.as_str(),
                ProxyTarget::Direct => "direct",
                ProxyTarget::Off => "off",
            };
            let mark = match entry.fall_back {
                FallBack::OnNotFound => ',',
                FallBack::OnAnyError => '|',
            };
            format!("{target}{mark}")
        };
        list.entries.iter().map(entry).collect()
    }

    #[test]
    fn a_list_is_read_as_the_go_command_reads_it() {
        let table = [
            ("https://a.example", "https://a.example,"),
            ("https://a.example,direct", "https://a.example,direct,"),
            (
                "https://a.example|https://b.example/x,off",
                "https://a.example|https://b.example/x,off,",
            ),
            (" https://a.example , direct ", "https://a.example,direct,"),
            (",,https://a.example,|", "https://a.example,"),
            ("https://a.example,direct,https://b.example", "https://a.example,direct,"),
            ("https://a.example|off,nonsense", "https://a.example|off,"),
            ("a.example:8080", "https://a.example:8080,"),
            ("file:///srv/modules", "file:///srv/modules,"),
            ("", "error"),
            (",", "error"),
            ("nonsense", "error"),
            ("ftp://a.example", "error"),
            ("/srv/modules", "error"),
        ];
        for (text, expected) in table {
            assert_eq!(short(text), expected, "{text}");
        }
    }
}
