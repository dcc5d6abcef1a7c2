//! The least of an HTTP client: one request, one connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// What came back.
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: String,
    pub(crate) body: String,
}

/// Sends a request to `HOST:PORT` and waits for all of the answer.
pub(crate) fn send(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Answer> {
    let mut stream = open(address, method, path, headers, body.len())?;
    // Whoever refuses early does not read all of it.
    let sent = stream.write_all(body);
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    if bytes.is_empty() {
        sent.and(read)?;
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (headers, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let code = headers.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let chunked = headers.to_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunked(body) } else { body.to_owned() };
    Ok(Answer { code, headers: headers.to_owned(), body })
}

/// `GET` of what never ends: its lines, as they come.
pub(crate) fn follow(address: &str, path: &str) -> impl Iterator<Item = String> + use<> {
    let stream = open(address, "GET", path, &[("accept", "text/event-stream")], 0).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    BufReader::new(stream).lines().map(|line| line.unwrap())
}

fn open(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    length: usize,
) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n"
    );
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all((head + "\r\n").as_bytes())?;
    Ok(stream)
}

fn unchunked(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).unwrap_or(0);
        // Lossy decoding may have moved the ends.
        let Some(chunk) = rest.get(..length).filter(|chunk| !chunk.is_empty()) else { break };
        text += chunk;
        body = rest.get(length + 2..).unwrap_or_default();
    }
    text
}
