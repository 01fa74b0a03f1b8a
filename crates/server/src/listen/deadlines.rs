//! When a connection has to end: the part of the accept loop that needs no socket.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::time::Instant;

use super::Limits;

/// What has happened on a connection, told to its [`Deadlines`] by whom it happens to.
///
/// Each stands for itself, save that who sees a request ended has to see its event too.
#[derive(Default)]
pub(super) struct Activity {
    /// Bytes came, or the end of them, since they were last looked at.
    pub(super) read: AtomicBool,
    /// The peer's last word on writing was "not now".
    pub(super) write_blocked: AtomicBool,
    /// How often a blocked write moved on.
    pub(super) write_moved: AtomicUsize,
    /// Requests begun and not yet answered to the last byte.
    pub(super) in_flight: AtomicUsize,
    /// Of these, the ones whose answer has more to say and waits for the peer to take what it said.
    pub(super) handed: AtomicUsize,
    /// Requests begun, requests ended and parts of answers handed over, together: only its change tells.
    pub(super) events: AtomicUsize,
    /// The connection speaks HTTP/2.
    pub(super) multiplexed: AtomicBool,
}

/// Decides, from what happened, when a connection has to end.
pub(super) struct Deadlines<'a> {
    activity: &'a Activity,
    limits: Limits,
    /// [`Activity::events`] as last seen.
    events: usize,
    /// When the last request ended, or was last seen going on.
    idle_since: Instant,
    /// When the first byte of the header now expected came; the accept stands for that of the first one.
    header_since: Option<Instant>,
    write_moved: usize,
    blocked_since: Option<Instant>,
    /// Since when every request in flight waits for the peer to take its answer.
    stuck_since: Option<Instant>,
    /// The peer knows that no further request is welcome, and has until then.
    goodbye: Option<Instant>,
    /// The end of everything, once the server stops.
    last: Option<Instant>,
}

/// What to do with a connection now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing before this instant.
    LookAgain(Instant),
    /// It has been idle: end it as the protocol has it.
    SayGoodbye,
    /// It broke a limit: drop it.
    Cut,
}

impl<'a> Deadlines<'a> {
    /// Those of a connection accepted at `opened`.
    pub(super) fn new(activity: &'a Activity, limits: Limits, opened: Instant) -> Self {
        Self {
            activity,
            limits,
            events: 0,
            idle_since: opened,
            header_since: Some(opened),
            write_moved: 0,
            blocked_since: None,
            stuck_since: None,
            goodbye: None,
            last: None,
        }
    }

    /// The connection ends at `last` whatever happens.
    pub(super) fn end_by(&mut self, last: Instant) {
        self.last = Some(last);
        self.goodbye = Some(last);
    }

    /// What to do at `now`, after the connection was given the chance to move on.
    pub(super) fn look(&mut self, now: Instant) -> Verdict {
        let in_flight = self.note(now);
        let limits = &self.limits;
        let idle = in_flight == 0 && self.header_since.is_none();
        if idle && self.goodbye.is_none() && self.idle_since + limits.keep_alive_idle <= now {
            self.goodbye = Some(now + limits.keep_alive_idle);
            return Verdict::SayGoodbye;
        }
        let header_end = self.header_since.filter(|_| in_flight == 0).map(|since| since + limits.header);
        let idle_end = idle.then(|| self.goodbye.unwrap_or(self.idle_since + limits.keep_alive_idle));
        let blocked_end = self.blocked_since.map(|since| since + limits.write_idle);
        let stuck_end = self.stuck_since.map(|since| since + limits.write_idle);
        let end = [header_end, idle_end, blocked_end, stuck_end, self.last].into_iter().flatten().min();
        match end {
            Some(end) if end <= now => Verdict::Cut,
            Some(end) if in_flight == 0 => Verdict::LookAgain(end),
            // On HTTP/2 answers end, and stall, in tasks of their own that do not wake this one.
            end => Verdict::LookAgain(end.unwrap_or(now + limits.write_idle).min(now + limits.write_idle)),
        }
    }

    /// Takes in what happened since the last look; how many requests are in flight.
    fn note(&mut self, now: Instant) -> usize {
        let activity = self.activity;
        let in_flight = activity.in_flight.load(Ordering::Acquire);
        let events = activity.events.load(Ordering::Relaxed);
        let multiplexed = activity.multiplexed.load(Ordering::Relaxed);
        let read = activity.read.load(Ordering::Relaxed);
        if read {
            activity.read.store(false, Ordering::Relaxed);
        }
        let blocked = activity.write_blocked.load(Ordering::Relaxed);
        let write_moved = activity.write_moved.load(Ordering::Relaxed);
        let still = write_moved == self.write_moved;
        self.blocked_since = blocked.then(|| self.blocked_since.filter(|_| still).unwrap_or(now));
        // What HTTP/1.1 writes is answers; HTTP/2 also writes what a peer makes it write.
        let answering = !multiplexed && (blocked || !still);
        if events != self.events || answering {
            self.idle_since = now;
            self.header_since = None;
            self.stuck_since = None;
        } else if in_flight > 0 {
            self.idle_since = now;
            let all_wait = activity.handed.load(Ordering::Relaxed) >= in_flight;
            self.stuck_since = all_wait.then(|| self.stuck_since.unwrap_or(now));
        } else if read && !multiplexed {
            self.header_since.get_or_insert(now);
        }
        self.events = events;
        self.write_moved = write_moved;
        in_flight
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: Limits = Limits {
        connections: 1,
        connections_per_address: 1,
        header: Duration::from_secs(10),
        body_idle: Duration::from_secs(30),
        keep_alive_idle: Duration::from_secs(75),
        write_idle: Duration::from_secs(30),
        drain: Duration::from_secs(10),
    };

    /// A connection whose time is told in whole seconds after its accept.
    struct Told<'a> {
        opened: Instant,
        activity: &'a Activity,
        deadlines: Deadlines<'a>,
    }

    impl<'a> Told<'a> {
        fn new(activity: &'a Activity) -> Self {
            let opened = Instant::now();
            Self { opened, activity, deadlines: Deadlines::new(activity, LIMITS, opened) }
        }

        fn at(&self, second: u64) -> Instant {
            self.opened + Duration::from_secs(second)
        }

        #[track_caller]
        fn looks_again(&mut self, now: u64, then: u64) {
            assert_eq!(self.deadlines.look(self.at(now)), Verdict::LookAgain(self.at(then)));
        }

        #[track_caller]
        fn decides(&mut self, now: u64, verdict: Verdict) {
            assert_eq!(self.deadlines.look(self.at(now)), verdict);
        }

        fn event(&self) {
            self.activity.events.fetch_add(1, Ordering::Relaxed);
        }

        fn begin(&self) {
            self.activity.in_flight.fetch_add(1, Ordering::Relaxed);
            self.event();
        }

        fn end(&self) {
            self.activity.in_flight.fetch_sub(1, Ordering::Relaxed);
            self.event();
        }

        fn read(&self) {
            self.activity.read.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_first_header_counts_from_the_accept_and_a_later_one_from_its_first_byte() {
        let activity = Activity::default();
        let mut told = Told::new(&activity);
        told.read();
        told.looks_again(3, 10);
        told.begin();
        told.end();
        told.looks_again(5, 80);
        told.read();
        told.looks_again(50, 60);
        told.read();
        told.looks_again(59, 60);
        told.decides(60, Verdict::Cut);
    }

    #[test]
    fn a_request_in_flight_may_take_its_time() {
        let activity = Activity::default();
        let mut told = Told::new(&activity);
        told.begin();
        told.looks_again(1, 31);
        told.looks_again(1000, 1030);
        told.end();
        told.looks_again(1001, 1076);
    }

    #[test]
    fn pings_keep_no_idle_http2_connection_and_start_no_header() {
        let activity = Activity::default();
        activity.multiplexed.store(true, Ordering::Relaxed);
        let mut told = Told::new(&activity);
        told.begin();
        told.end();
        told.looks_again(1, 76);
        told.read();
        told.looks_again(40, 76);
        told.read();
        told.decides(76, Verdict::SayGoodbye);
        told.looks_again(76, 151);
        told.decides(151, Verdict::Cut);
    }

    #[test]
    fn a_blocked_write_ends_the_connection_unless_it_moves() {
        let activity = Activity::default();
        let mut told = Told::new(&activity);
        told.begin();
        activity.write_blocked.store(true, Ordering::Relaxed);
        told.looks_again(1, 31);
        activity.write_moved.fetch_add(1, Ordering::Relaxed);
        told.looks_again(30, 60);
        told.decides(60, Verdict::Cut);
    }

    #[test]
    fn an_answer_handed_over_whole_may_be_taken_slowly() {
        let activity = Activity::default();
        let mut told = Told::new(&activity);
        told.begin();
        told.end();
        activity.write_blocked.store(true, Ordering::Relaxed);
        for now in (0..400).step_by(20) {
            activity.write_moved.fetch_add(1, Ordering::Relaxed);
            told.read();
            told.looks_again(now, now + 30);
        }
        told.decides(410, Verdict::Cut);
    }

    #[test]
    fn answers_that_all_wait_for_the_peer_end_the_connection() {
        let activity = Activity::default();
        let mut told = Told::new(&activity);
        told.begin();
        told.begin();
        activity.handed.store(1, Ordering::Relaxed);
        told.looks_again(1, 31);
        told.looks_again(31, 61);
        activity.handed.store(2, Ordering::Relaxed);
        told.looks_again(40, 70);
        told.event();
        told.looks_again(60, 90);
        told.looks_again(90, 120);
        told.decides(120, Verdict::Cut);
    }

    #[test]
    fn after_the_stop_nothing_outlasts_the_drain() {
        let activity = Activity::default();
        let mut told = Told::new(&activity);
        told.begin();
        told.deadlines.end_by(told.at(10));
        told.looks_again(1, 10);
        told.decides(10, Verdict::Cut);
    }
}
