//! A real shared cache in front of a gateway: nginx on a free loopback port, stopped by its own id.

use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use super::chaos::nobody;
use super::client::Answer;
use super::client::parse;
use super::gateway::Gateway;
use super::until;

/// A cache that runs; it keeps whatever the gateway's headers let it keep.
#[derive(Debug)]
pub(crate) struct Nginx {
    child: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Nginx {
    /// Starts it in front of a gateway.
    pub(crate) fn before(gateway: &Gateway) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (place, address) = (directory.path().display(), nobody());
        let configuration = format!(
            "daemon off; pid {place}/pid; error_log {place}/errors; worker_processes 1;\n\
             events {{ worker_connections 64; }}\n\
             http {{\n access_log off;\n client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;\n\
             fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;\n\
             proxy_cache_path {place}/cache keys_zone=kept:1m;\n\
             server {{ listen {address}; location / {{\n\
             proxy_pass https://127.0.0.1:{}; proxy_ssl_verify off; proxy_ssl_name localhost;\n\
             proxy_ssl_server_name on; proxy_cache kept; proxy_http_version 1.1;\n\
             add_header X-Kept $upstream_cache_status always;\n }} }} }}\n",
            gateway.address.port()
        );
        let file = directory.path().join("nginx.conf");
        std::fs::write(&file, configuration).unwrap();
        let child = Command::new("/usr/sbin/nginx")
            .arg("-c")
            .arg(&file)
            .arg("-p")
            .arg(directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("nginx listens", || TcpStream::connect(address).is_ok());
        Self { child, address, _directory: directory }
    }

    /// Asks through it, with an `Authorization` line or none.
    pub(crate) fn get(&self, path: &str, authorization: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{authorization}\r\n"
        )
        .unwrap();
        let mut raw = Vec::new();
        stream.read_to_end(&mut raw).unwrap();
        parse(&raw).unwrap()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // its worker ends with it, as SIGTERM tells both
        let pid = self.child.id().to_string();
        let _told = Command::new("kill").args(["-TERM", &pid]).status();
        let _ended = self.child.wait();
    }
}
