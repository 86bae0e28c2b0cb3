//! Writes the replies of redis-server under the requests of a transcript: `record FILE > WITH_REPLIES`.
//!
//! For a new transcript of commands Redis 7.0 has. What comes out is to be read, not believed: replies in
//! no particular order need `*[...]`, times `:low..high`, chosen members `?`.

use std::collections::HashMap;
use std::time::Duration;

use shoal_testkit::notation::{Pattern, words};
use shoal_testkit::{Server, Value, resp};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args().nth(1).ok_or("usage: record FILE")?;
    let text = std::fs::read_to_string(file)?;
    let server = Server::redis(&[])?;
    let resp2 = record(&server, 2, &text)?;
    let resp3 = record(&server, 3, &text)?;
    for ((line, two), three) in text.lines().zip(resp2).zip(resp3) {
        println!("{line}");
        match (two, three) {
            (Reply::None, _) => {}
            (Reply::Came(two), Reply::Came(three)) => println!("{}", both(&two, &three)),
            _ => println!("..."),
        }
    }
    Ok(())
}

enum Reply {
    /// The line asks for nothing.
    None,
    Missing,
    Came(Value),
}

fn record(server: &Server, version: u8, text: &str) -> Result<Vec<Reply>, Box<dyn std::error::Error>> {
    let mut connections: HashMap<String, resp::Client> = HashMap::new();
    let mut replies = Vec::new();
    server.connect().line("FLUSHALL")?;
    for line in text.lines() {
        if line.starts_with("==") {
            connections.clear();
            server.connect().line("FLUSHALL")?;
        }
        if let Some(ms) = line.strip_prefix("@sleep ") {
            std::thread::sleep(Duration::from_millis(ms.parse()?));
        }
        let request =
            line.split_once(['>', '<']).filter(|(name, _)| name.len() < 8 && !line.starts_with('#'));
        let Some((name, request)) = request else {
            replies.push(Reply::None);
            continue;
        };
        if !connections.contains_key(name) {
            let client = match version {
                2 => resp::Client::connect(server.resp_addr())?,
                _ => resp::Client::connect_resp(server.resp_addr(), version)?,
            };
            connections.insert(name.into(), client);
        }
        let client = connections.get_mut(name).ok_or("no connection")?;
        match request.trim().strip_prefix('!') {
            Some(raw) => client.send_raw(&words(raw)?.concat())?,
            None if line.contains('>') => client.send(&words(request)?)?,
            None => {}
        }
        let reply = client.recv_within(Duration::from_millis(250)).map_err(|e| format!("{line}: {e}"))?;
        replies.push(reply.map_or(Reply::Missing, Reply::Came));
    }
    Ok(replies)
}

/// One expression for what came in both versions, or two.
fn both(two: &Value, three: &Value) -> String {
    for text in [three.to_string(), two.to_string()] {
        if Pattern::parse(&text).is_ok_and(|p| p.matches(two, 2) && p.matches(three, 3)) {
            return text;
        }
    }
    format!("2| {two}\n3| {three}")
}
