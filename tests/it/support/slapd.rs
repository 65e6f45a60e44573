//! A real directory: slapd with people, nested groups and TLS, on free loopback ports, stopped by its own id.

use std::fmt::Write as _;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use super::authority::Authority;
use super::authority::Life;
use super::until;

/// A directory that runs.
#[derive(Debug)]
pub(crate) struct Slapd {
    child: Child,
    directory: tempfile::TempDir,
    authority: Authority,
    plain: u16,
    tls: u16,
}

/// People, each with a password `NAME-pw`, and groups by their members.
#[derive(Debug, Clone, Default)]
pub(crate) struct People {
    ldif: String,
}

const SUFFIX: &str = "dc=corp,dc=example";
/// More time than a login needs on a machine that is busy with something else.
pub(crate) const PATIENT: &str =
    "connect_timeout = \"5s\"\noperation_timeout = \"10s\"\ntotal_timeout = \"20s\"";

impl People {
    /// A directory with its branches and a service account.
    pub(crate) fn new() -> Self {
        let mut people = Self::default();
        people.entry(SUFFIX, "objectClass: dcObject\nobjectClass: organization\no: corp\ndc: corp");
        for branch in ["people", "groups", "services"] {
            people.entry(&format!("ou={branch},{SUFFIX}"), "objectClass: organizationalUnit");
        }
        let service = "objectClass: applicationProcess\nobjectClass: simpleSecurityObject\nuserPassword: service-pw";
        people.entry(&format!("cn=modgate,ou=services,{SUFFIX}"), service);
        people
    }

    /// Somebody; the name may hold anything.
    pub(crate) fn person(mut self, name: &str) -> Self {
        let body = format!(
            "objectClass: inetOrgPerson\nuid: {name}\ncn: {name}\nsn: {name}\nuserPassword: {name}-pw"
        );
        self.entry(&dn_of(name), &body);
        self
    }

    /// A group of people and of groups, which stand as `group:NAME`.
    pub(crate) fn group(mut self, name: &str, members: &[&str]) -> Self {
        let mut body = "objectClass: groupOfNames".to_owned();
        for member in members {
            let dn = match member.strip_prefix("group:") {
                Some(group) => format!("cn={group},ou=groups,{SUFFIX}"),
                None => dn_of(member),
            };
            let _written = write!(body, "\nmember: {dn}");
        }
        self.entry(&format!("cn={name},ou=groups,{SUFFIX}"), &body);
        self
    }

    fn entry(&mut self, dn: &str, body: &str) {
        let _written = writeln!(self.ldif, "dn: {dn}\n{body}\n");
    }
}

fn dn_of(name: &str) -> String {
    let escaped: String =
        name.chars()
            .map(|letter| {
                if ",+\"\\<>;=".contains(letter) {
                    format!("\\{letter}")
                } else {
                    letter.to_string()
                }
            })
            .collect();
    format!("uid={escaped},ou=people,{SUFFIX}")
}

impl Slapd {
    /// Starts it and loads the people.
    pub(crate) fn with(people: &People) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::make(directory.path());
        Self::over(directory, authority, people)
    }

    /// The same with a certificate that has expired.
    pub(crate) fn with_expired_certificate(people: &People) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::make(directory.path());
        authority.sign(Life::Over);
        Self::over(directory, authority, people)
    }

    fn over(directory: tempfile::TempDir, authority: Authority, people: &People) -> Self {
        let (plain, tls) = (super::port(), super::port());
        std::fs::create_dir(directory.path().join("db")).unwrap();
        let child = start(&directory, &authority, (plain, tls));
        let mut slapd = Self { child, directory, authority, plain, tls };
        slapd.wait();
        let ldif = slapd.directory.path().join("people.ldif");
        std::fs::write(&ldif, &people.ldif).unwrap();
        let added = Command::new("ldapadd")
            .args([
                "-x",
                "-H",
                &format!("ldap://127.0.0.1:{plain}"),
                "-D",
                &format!("cn=admin,{SUFFIX}"),
            ])
            .args(["-w", "admin", "-f"])
            .arg(ldif)
            .output()
            .unwrap();
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        slapd
    }

    fn wait(&mut self) {
        let (plain, child) = (self.plain, &mut self.child);
        until("slapd listens", || {
            assert!(child.try_wait().unwrap().is_none(), "slapd ended");
            std::net::TcpStream::connect(("127.0.0.1", plain)).is_ok()
        });
    }

    /// The settings of a gateway that asks it over TLS, and has patience with it, with more lines.
    pub(crate) fn settings(&self, more: &str) -> String {
        let named = |line: &&str| more.contains(line.split(' ').next().unwrap());
        let times: Vec<_> = PATIENT.lines().filter(|line| !named(line)).collect();
        self.settings_as_preset(&format!("{}\n{more}", times.join("\n")))
    }

    /// The same with the times that are preset, for what is about a directory that says nothing.
    pub(crate) fn settings_as_preset(&self, more: &str) -> String {
        self.settings_for(&format!("\"ldaps://localhost:{}\"", self.tls), more)
    }

    /// The same with other servers.
    pub(crate) fn settings_for(&self, servers: &str, more: &str) -> String {
        let password = self.directory.path().join("password");
        std::fs::write(&password, "service-pw\n").unwrap();
        let only_us = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&password, only_us).unwrap();
        format!(
            "[[identity.ldap]]\nname = \"corp\"\nservers = [{servers}]\nca_file = \"{}\"\n\
             bind_dn = \"cn=modgate,ou=services,{SUFFIX}\"\nbind_password_file = \"{}\"\n\
             user_base = \"ou=people,{SUFFIX}\"\ngroup_base = \"ou=groups,{SUFFIX}\"\n{more}\n",
            self.authority.ca.display(),
            password.display()
        )
    }

    pub(crate) fn plain_port(&self) -> u16 {
        self.plain
    }

    pub(crate) fn tls_port(&self) -> u16 {
        self.tls
    }

    /// How many binds as people it has seen, by its own log.
    pub(crate) fn binds(&self) -> usize {
        let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap();
        log.lines()
            .filter(|line| line.contains(" BIND dn=\"uid=") && line.contains("method=128"))
            .count()
    }

    /// What it was asked about people, by its own log, in order: `search` for a name, `bind` as somebody.
    pub(crate) fn asked_about_people(&self) -> Vec<&'static str> {
        let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap();
        let people = format!("ou=people,{SUFFIX}\"");
        log.lines()
            .filter_map(|line| {
                let about = line.contains(&people);
                match (line.contains(" SRCH base="), line.contains(" BIND dn=")) {
                    (true, _) if about => Some("search"),
                    (_, true) if about && line.contains("method=128") => Some("bind"),
                    _ => None,
                }
            })
            .collect()
    }

    /// Gives somebody another password.
    pub(crate) fn set_password(&self, name: &str, password: &str) {
        let changed = Command::new("ldappasswd")
            .args(["-x", "-H", &format!("ldap://127.0.0.1:{}", self.plain), "-w", "admin"])
            .args(["-D", &format!("cn=admin,{SUFFIX}"), "-s", password, &dn_of(name)])
            .output()
            .unwrap();
        assert!(changed.status.success(), "{}", String::from_utf8_lossy(&changed.stderr));
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    pub(crate) fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        self.child = start(&self.directory, &self.authority, (self.plain, self.tls));
        self.wait();
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        // gone already is as good
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn start(directory: &tempfile::TempDir, authority: &Authority, (plain, tls): (u16, u16)) -> Child {
    let home = directory.path();
    let shown = |path: &std::path::Path| path.display().to_string();
    let schema = |name: &str| format!("include /etc/ldap/schema/{name}.schema");
    let lines = [
        schema("core"),
        schema("cosine"),
        schema("inetorgperson"),
        "modulepath /usr/lib/ldap".to_owned(),
        "moduleload back_mdb".to_owned(),
        "moduleload memberof".to_owned(),
        format!("TLSCACertificateFile {}", shown(&authority.ca)),
        format!("TLSCertificateFile {}", shown(&authority.cert)),
        format!("TLSCertificateKeyFile {}", shown(&authority.key)),
        "loglevel stats".to_owned(),
        "database mdb".to_owned(),
        "maxsize 268435456".to_owned(),
        format!("suffix \"{SUFFIX}\""),
        format!("rootdn \"cn=admin,{SUFFIX}\""),
        "rootpw admin".to_owned(),
        format!("directory {}", shown(&home.join("db"))),
        "index objectClass,uid,member eq".to_owned(),
        "overlay memberof".to_owned(),
        "access to attrs=userPassword by anonymous auth by * none".to_owned(),
        "access to * by users read by anonymous auth".to_owned(),
    ];
    let config = home.join("slapd.conf");
    std::fs::write(&config, lines.join("\n") + "\n").unwrap();
    let log = std::fs::OpenOptions::new().create(true).append(true).open(home.join("log")).unwrap();
    Command::new("/usr/sbin/slapd")
        .args([
            "-d",
            "stats",
            "-h",
            &format!("ldap://127.0.0.1:{plain} ldaps://127.0.0.1:{tls}"),
            "-f",
        ])
        .arg(config)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}
