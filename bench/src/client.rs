//! One request at a time, for what is not load: what an answer is, and when its first byte comes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::Result;

/// An answer that is being read.
pub(crate) struct Answer {
    stream: TcpStream,
    /// From the request to the first byte.
    pub(crate) first_byte: Duration,
    /// What came with it.
    read: Vec<u8>,
}

/// Asks for `path` with that credential, on a connection of its own, and waits for the first byte.
///
/// # Errors
/// Where the answer is not 200.
pub(crate) fn get(base: &str, path: &str, token: &str) -> Result<Answer> {
    let host = base.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host)?;
    stream.set_nodelay(true)?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    let asked = Instant::now();
    stream.write_all(request.as_bytes())?;
    let mut read = vec![0; 64 * 1024];
    let count = stream.read(&mut read)?;
    let first_byte = asked.elapsed();
    read.truncate(count);
    if read.starts_with(b"HTTP/1.1 200 ") {
        Ok(Answer { stream, first_byte, read })
    } else {
        Err(format!("GET {path}: {}", String::from_utf8_lossy(&read)).into())
    }
}

impl Answer {
    /// The body of a short answer, which is not sent in chunks.
    pub(crate) fn body(mut self) -> Result<Vec<u8>> {
        self.stream.read_to_end(&mut self.read)?;
        let head = self.read.windows(4).position(|four| four == b"\r\n\r\n").ok_or("no end of the head")?;
        Ok(self.read.split_off(head + 4))
    }

    /// Reads the rest, calling `look` every now and then; answers how many bytes there were in all.
    pub(crate) fn drain(mut self, mut look: impl FnMut() -> Result<()>) -> Result<usize> {
        let (mut total, mut buffer) = (self.read.len(), vec![0; 256 * 1024]);
        loop {
            let count = self.stream.read(&mut buffer)?;
            if count == 0 {
                return Ok(total);
            }
            total += count;
            look()?;
        }
    }
}
