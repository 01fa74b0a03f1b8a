//! A client that asks one thing at a time, on one connection that it keeps, and says when it was not answered.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// How long something may take that takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between the parts of a form.
const EDGE: &str = "--------------------------edge";

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    /// Lines of the header, each with its end.
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
}

impl Call {
    /// Without a body.
    pub(crate) fn new(method: &'static str, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), headers: String::new(), body: Vec::new() }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path)
    }

    /// With that credential.
    pub(crate) fn by(mut self, token: &str) -> Self {
        self.headers.push_str(&format!("Authorization: Bearer {token}\r\n"));
        self
    }

    pub(crate) fn json(mut self, body: &Value) -> Self {
        self.headers.push_str("Content-Type: application/json\r\n");
        self.body = body.to_string().into_bytes();
        self
    }

    /// With a form of parts: a name, the type of a file where it is one, and the content.
    pub(crate) fn parts(mut self, parts: &[(&str, Option<&str>, &[u8])]) -> Self {
        self.headers.push_str(&format!("Content-Type: multipart/form-data; boundary={EDGE}\r\n"));
        for (name, kind, content) in parts {
            let file =
                kind.map(|kind| format!("; filename=\"file\"\r\nContent-Type: {kind}")).unwrap_or_default();
            let head = format!("--{EDGE}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
            self.body.extend_from_slice(head.as_bytes());
            self.body.extend_from_slice(content);
            self.body.extend_from_slice(b"\r\n");
        }
        self.body.extend_from_slice(format!("--{EDGE}--\r\n").as_bytes());
        self
    }

    /// As it is sent.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let Self { method, path, headers, body } = self;
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: proof\r\n{headers}Content-Length: {length}\r\n\r\n");
        [head.as_bytes(), body].concat()
    }
}

/// What was answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The lines of the header, without the first.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The value of that header, named in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// The body as JSON; null where it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// One connection, made when it is needed and again when it broke.
pub(crate) struct Client {
    address: String,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    pub(crate) fn new(address: &str) -> Self {
        Self { address: address.to_owned(), stream: None }
    }

    /// Makes one call.
    ///
    /// # Errors
    /// Where it is not answered whole: whether it happened is then unknown.
    pub(crate) fn call(&mut self, call: &Call) -> io::Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(&self.address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                BufReader::new(stream)
            }
        };
        stream.get_mut().write_all(&call.bytes())?;
        let answer = read(&mut stream, call.method)?;
        if answer.header("connection") != Some("close") {
            self.stream = Some(stream);
        }
        Ok(answer)
    }
}

fn broken() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

/// Reads one answer to its end.
fn read(stream: &mut impl BufRead, method: &str) -> io::Result<Answer> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Err(broken());
        }
    }
    let (first, head) = head.split_once("\r\n").ok_or_else(broken)?;
    let status = first.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(broken)?;
    let mut answer = Answer { status, head: head.to_owned(), body: Vec::new() };
    if method == "HEAD" || matches!(status, 204 | 304) {
        return Ok(answer);
    }
    if answer.header("transfer-encoding") == Some("chunked") {
        answer.body = chunks(stream)?;
    } else {
        let length =
            answer.header("content-length").and_then(|length| length.parse().ok()).ok_or_else(broken)?;
        answer.body = vec![0; length];
        stream.read_exact(&mut answer.body)?;
    }
    Ok(answer)
}

fn chunks(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let length = usize::from_str_radix(line.trim(), 16).map_err(|_| broken())?;
        let mut chunk = vec![0; length + 2];
        stream.read_exact(&mut chunk)?;
        chunk.truncate(length);
        body.extend(chunk);
        if length == 0 {
            return Ok(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_to_their_end_and_no_further() {
        let mut wire: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n\
                                HTTP/1.1 409 Conflict\r\nContent-Length: 2\r\n\r\nno\
                                HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ncut";
        let told: Vec<_> = (0..3).map(|_| read(&mut wire, "GET").unwrap()).collect();
        let told: Vec<_> = told.iter().map(|answer| (answer.status, answer.body.as_slice())).collect();
        assert_eq!(told, [(200, &b"abcde"[..]), (409, b"no"), (204, b"")]);
        assert!(read(&mut wire, "GET").is_err(), "a part is not taken for the whole");
    }
}
