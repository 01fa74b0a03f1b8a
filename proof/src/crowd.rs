//! Many clients at once: requests at a rate that nothing slows down, and clients that are slow on purpose.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::client::Call;
use crate::{Result, disk};

/// How long a client waits before it gives up.
const PATIENCE: Duration = Duration::from_secs(2);
/// Connections that a crowd has at the most.
const CONNECTIONS: u32 = 6_000;

/// One worker: the machine is the server's.
pub(crate) fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

/// Lets this process, and those it starts, have as many files open as the system allows it.
pub(crate) fn open_many() -> Result<()> {
    let pid = std::process::id().to_string();
    let most = disk::tool("sh", &["-c", "ulimit -Hn"])?;
    let most: u64 = most.parse().unwrap_or(1 << 20);
    if most < 16_000 {
        return Err(format!("only {most} open files are allowed: ulimit -Hn 20000").into());
    }
    disk::tool("prlimit", &["--pid", &pid, &format!("--nofile={}:", most.min(65_536))]).map(drop)
}

/// A connection from one of many addresses, as many clients have.
async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    connect_with(address, None).await
}

/// The same, with so many bytes of what comes kept by the system, where few are wanted.
async fn connect_with(address: SocketAddr, kept: Option<u32>) -> io::Result<TcpStream> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let from = NEXT.fetch_add(1, Ordering::Relaxed) % 100;
    let socket = TcpSocket::new_v4()?;
    if let Some(kept) = kept {
        socket.set_recv_buffer_size(kept)?;
    }
    socket.bind((Ipv4Addr::from(0x7f00_0002 + from), 0).into())?;
    let stream = timeout(PATIENCE, socket.connect(address)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What one request came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// From when it was due.
    pub(crate) took: Duration,
    /// 0 where it was not answered in time.
    pub(crate) status: u16,
    /// Whether it was told when to come back.
    pub(crate) told_when: bool,
}

/// Asks, and reads the answer to its end.
async fn ask(stream: &mut TcpStream, request: &[u8]) -> io::Result<(u16, bool)> {
    stream.write_all(request).await?;
    let (mut answer, mut part) = (Vec::with_capacity(4096), vec![0; 64 * 1024]);
    loop {
        let count = stream.read(&mut part).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&part[..count]);
        if let Some(told) = whole(&answer) {
            return Ok(told);
        }
    }
}

/// The status, and whether there is a `Retry-After`, of an answer that is there to its end.
fn whole(answer: &[u8]) -> Option<(u16, bool)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..end]).ok()?.to_ascii_lowercase();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name).map(str::trim));
    let is_whole = match field("content-length:") {
        Some(length) => answer.len() >= end + length.parse::<usize>().ok()?,
        None => answer.ends_with(b"0\r\n\r\n") || head.starts_with("http/1.1 204"),
    };
    let status = head.split(' ').nth(1)?.parse().ok()?;
    is_whole.then(|| (status, field("retry-after:").is_some()))
}

/// Connections that rest between two requests.
struct Pool {
    address: SocketAddr,
    resting: Mutex<Vec<(TcpStream, Open)>>,
    open: Arc<AtomicU32>,
}

impl Pool {
    async fn ask(&self, request: &[u8]) -> io::Result<(u16, bool)> {
        let resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut stream = match resting {
            Some(stream) => stream,
            None if self.open.load(Ordering::Relaxed) >= CONNECTIONS => {
                return Err(io::ErrorKind::QuotaExceeded.into());
            }
            None => {
                let open = Open::one_more(&self.open);
                (connect(self.address).await?, open)
            }
        };
        // Who gives up on an answer drops the connection here.
        let told = ask(&mut stream.0, request).await?;
        self.resting.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
        Ok(told)
    }
}

/// A connection that is counted while it is open.
struct Open(Arc<AtomicU32>);

impl Open {
    fn one_more(open: &Arc<AtomicU32>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(open.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sends `call` so many times a second, whatever becomes of it, for so long; answers what each came to.
pub(crate) async fn flood(
    address: &str,
    call: &Call,
    (rate, lasting): (f64, Duration),
) -> Result<Vec<Sample>> {
    let pool = Pool { address: address.parse()?, resting: Mutex::default(), open: Arc::default() };
    let (pool, request) = (Arc::new(pool), Arc::new(call.bytes()));
    let begun = Instant::now();
    let mut ticks = interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut asked = Vec::new();
    while begun.elapsed() < lasting {
        ticks.tick().await;
        let due = (begun.elapsed().as_secs_f64() * rate) as usize;
        while asked.len() < due {
            let (pool, request) = (pool.clone(), request.clone());
            let begun = Instant::now();
            asked.push(tokio::spawn(async move {
                let told = timeout(PATIENCE, pool.ask(&request)).await;
                let (status, told_when) = told.ok().and_then(|told| told.ok()).unwrap_or_default();
                Sample { took: begun.elapsed(), status, told_when }
            }));
        }
    }
    let mut samples = Vec::with_capacity(asked.len());
    for asked in asked {
        samples.push(asked.await?);
    }
    Ok(samples)
}

/// Sends `call` on so many connections, each as soon as the last was answered, with `pause` between; for so long.
pub(crate) async fn steady(
    address: &str,
    call: &Call,
    (connections, pause): (usize, Duration),
    lasting: Duration,
) -> Result<Vec<Sample>> {
    let address: SocketAddr = address.parse()?;
    let request = Arc::new(call.bytes());
    let begun = Instant::now();
    let mut clients = Vec::new();
    for _ in 0..connections {
        let request = request.clone();
        clients.push(tokio::spawn(async move {
            let mut samples = Vec::new();
            let mut stream = None;
            while begun.elapsed() < lasting {
                let asked = Instant::now();
                let told = timeout(PATIENCE, once(&mut stream, address, &request)).await;
                let (status, told_when) = told.ok().and_then(|told| told.ok()).unwrap_or_default();
                if status == 0 {
                    stream = None;
                }
                samples.push(Sample { took: asked.elapsed(), status, told_when });
                sleep(pause).await;
            }
            samples
        }));
    }
    let mut samples = Vec::new();
    for client in clients {
        samples.extend(client.await?);
    }
    Ok(samples)
}

async fn once(
    stream: &mut Option<TcpStream>,
    address: SocketAddr,
    request: &[u8],
) -> io::Result<(u16, bool)> {
    let stream = match stream {
        Some(stream) => stream,
        None => stream.insert(connect(address).await?),
    };
    ask(stream, request).await
}

/// How a client is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slow {
    Header,
    Body,
    Reader,
    Idle,
}

impl Slow {
    /// What it sends at once, and what again and again.
    fn sends(self, long: &str) -> (Vec<u8>, &'static [u8]) {
        let text: String = match self {
            Self::Header => "GET /health/live HTTP/1.1\r\nHost: proof\r\nX-Slow: ".into(),
            Self::Body => {
                "POST /api/account/login HTTP/1.1\r\nHost: proof\r\nContent-Type: application/json\r\n\
                           Content-Length: 100000\r\n\r\n"
                    .into()
            }
            Self::Reader => format!("GET {long} HTTP/1.1\r\nHost: proof\r\n\r\n"),
            Self::Idle => String::new(),
        };
        (text.into_bytes(), if matches!(self, Self::Header | Self::Body) { b" " } else { b"" })
    }
}

/// Slow clients, each on a task of its own; they leave when this is dropped.
pub(crate) struct Siege {
    open: Arc<AtomicU32>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Siege {
    /// Starts so many of each of these kinds; a slow reader asks for the path `long`.
    pub(crate) async fn lay(address: SocketAddr, kinds: [Slow; 2], (each, long): (usize, &str)) -> Self {
        let mut siege = Self { open: Arc::default(), clients: Vec::new() };
        for number in 0..each {
            for kind in kinds {
                let (first, again) = kind.sends(long);
                let kept = matches!(kind, Slow::Reader).then_some(4096);
                let Ok(mut stream) = connect_with(address, kept).await else { continue };
                let open = siege.open.clone();
                open.fetch_add(1, Ordering::Relaxed);
                siege.clients.push(tokio::spawn(async move {
                    drop(stay(&mut stream, &first, again).await);
                    open.fetch_sub(1, Ordering::Relaxed);
                }));
            }
            if number % 16 == 0 {
                sleep(Duration::from_millis(1)).await;
            }
        }
        siege
    }

    /// How many it began with.
    pub(crate) fn laid(&self) -> u32 {
        self.clients.len() as u32
    }

    /// How many the server has not cut off.
    pub(crate) fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }
}

impl Drop for Siege {
    fn drop(&mut self) {
        self.clients.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// Sends as slowly as it may and reads nothing, until the server ends it.
async fn stay(stream: &mut TcpStream, first: &[u8], again: &[u8]) -> io::Result<()> {
    stream.write_all(first).await?;
    loop {
        sleep(Duration::from_secs(1)).await;
        stream.write_all(again).await?;
        // What has ended is seen without reading what was sent.
        let mut one = [0];
        if matches!(timeout(Duration::ZERO, stream.peek(&mut one)).await, Ok(Ok(0) | Err(_))) {
            return Ok(());
        }
    }
}

/// The duration that 99 of 100 keep.
pub(crate) fn p99(samples: impl Iterator<Item = Duration>) -> Duration {
    let mut took: Vec<Duration> = samples.collect();
    took.sort();
    took.get(took.len() * 99 / 100).copied().unwrap_or_default()
}

/// Runs what is to have the given processor alone.
pub(crate) fn pinned(processor: usize, command: &Command) -> Command {
    let mut pinned = Command::new("taskset");
    pinned
        .args(["-c", &processor.to_string()])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear();
    pinned.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    pinned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_at_its_end() {
        assert_eq!(
            whole(b"HTTP/1.1 503 X\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\nno"),
            Some((503, true))
        );
        assert_eq!(whole(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nn"), None);
        assert_eq!(
            whole(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
            Some((200, false))
        );
    }

    #[test]
    fn one_in_a_hundred_may_be_slow() {
        let times = |slow: u64| (0..100).map(move |n| Duration::from_millis(if n < slow { 9 } else { 1 }));
        assert_eq!(p99(times(1)), Duration::from_millis(9));
        assert_eq!(p99(times(0)), Duration::from_millis(1));
    }
}
