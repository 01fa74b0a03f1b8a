//! Messages to and from the server, each by a moment after which nobody waits for it any more.

use std::io::{self, Error, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use postgres_protocol::message::backend::Message;
use rustls::{ClientConnection, StreamOwned};
use socket2::{SockRef, TcpKeepalive};

use super::target::Host;
use super::tls::Tls;

/// How long the network may leave what was sent unconfirmed, and a connection at rest unasked about.
const SILENCE: Duration = Duration::from_secs(5);
/// Bytes asked for at a time.
const PIECE: usize = 8 * 1024;

/// A socket whose reads and writes end by a given moment.
pub(super) struct Socket {
    kind: Kind,
    deadline: Instant,
}

enum Kind {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn open(host: &Host, deadline: Instant) -> io::Result<Self> {
        let kind = match host {
            Host::Tcp(name, port) => Kind::Tcp(open_tcp(name, *port, deadline)?),
            Host::Unix(file) => Kind::Unix(UnixStream::connect(file)?),
        };
        Ok(Self { kind, deadline })
    }

    /// How long may still be waited.
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(too_late()) } else { Ok(Some(left)) }
    }
}

fn too_late() -> Error {
    Error::new(ErrorKind::TimedOut, "no answer in time")
}

/// What a socket says when its time is over.
fn in_words(error: Error) -> Error {
    if error.kind() == ErrorKind::WouldBlock { too_late() } else { error }
}

fn open_tcp(name: &str, port: u16, deadline: Instant) -> io::Result<TcpStream> {
    let mut failed = Error::new(ErrorKind::NotFound, "the name has no address");
    for address in (name, port).to_socket_addrs()? {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(too_late());
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                let socket = SockRef::from(&stream);
                socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENCE).with_interval(SILENCE))?;
                #[cfg(any(target_os = "linux", target_os = "android"))]
                socket.set_tcp_user_timeout(Some(SILENCE))?;
                return Ok(stream);
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.left()?;
        let read = match &mut self.kind {
            Kind::Tcp(stream) => stream.set_read_timeout(left).and_then(|()| stream.read(into)),
            Kind::Unix(stream) => stream.set_read_timeout(left).and_then(|()| stream.read(into)),
        };
        read.map_err(in_words)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.left()?;
        let written = match &mut self.kind {
            Kind::Tcp(stream) => stream.set_write_timeout(left).and_then(|()| stream.write(bytes)),
            Kind::Unix(stream) => stream.set_write_timeout(left).and_then(|()| stream.write(bytes)),
        };
        written.map_err(in_words)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Stream {
    Plain(Socket),
    Tls(Box<StreamOwned<ClientConnection, Socket>>),
}

/// A connection to a server, before anything was said on it.
pub(super) struct Wire {
    stream: Stream,
    /// What is to be sent; written by the functions of `postgres_protocol::message::frontend`.
    pub(super) out: BytesMut,
    read: BytesMut,
    /// Where a read puts what it finds, before it is known how much that is.
    piece: Box<[u8; PIECE]>,
}

impl Wire {
    /// Connects, by TLS as `tls` has it.
    ///
    /// # Errors
    /// Why it cannot, for the operator.
    pub(super) fn open(host: &Host, tls: &Tls, deadline: Instant) -> Result<Self, String> {
        let socket = Socket::open(host, deadline).map_err(|error| error.to_string())?;
        let stream = match host {
            // As libpq has it: nobody listens on a socket of the same machine.
            Host::Unix(_) => Stream::Plain(socket),
            Host::Tcp(name, _) => match tls.over(socket, name)? {
                Ok(tls) => Stream::Tls(tls),
                Err(socket) => Stream::Plain(socket),
            },
        };
        Ok(Self { stream, out: BytesMut::new(), read: BytesMut::new(), piece: Box::new([0; PIECE]) })
    }

    /// From now on nothing is waited for beyond `deadline`.
    pub(super) fn set_deadline(&mut self, deadline: Instant) {
        match &mut self.stream {
            Stream::Plain(socket) => socket.deadline = deadline,
            Stream::Tls(tls) => tls.sock.deadline = deadline,
        }
    }

    /// Sends what was written to `out`.
    pub(super) fn send(&mut self) -> io::Result<()> {
        let sent = match &mut self.stream {
            Stream::Plain(socket) => socket.write_all(&self.out),
            Stream::Tls(tls) => tls.write_all(&self.out).and_then(|()| tls.flush()),
        };
        self.out.clear();
        sent
    }

    /// The next message of the server.
    pub(super) fn receive(&mut self) -> io::Result<Message> {
        loop {
            if let Some(message) = Message::parse(&mut self.read)? {
                return Ok(message);
            }
            let read = match &mut self.stream {
                Stream::Plain(socket) => socket.read(&mut self.piece[..]),
                Stream::Tls(tls) => tls.read(&mut self.piece[..]),
            };
            match read {
                Ok(0) => {
                    return Err(Error::new(ErrorKind::UnexpectedEof, "the server closed the connection"));
                }
                Ok(read) => self.read.extend_from_slice(&self.piece[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
