//! How many connections each client has: so that one alone cannot take all the places there are.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::client::Network;

/// The open connections of each client. A clone is another handle on the same.
#[derive(Clone, Default)]
pub(super) struct Crowd(Arc<Mutex<HashMap<Network, usize>>>);

/// One connection in the [`Crowd`] while it lives.
pub(super) struct Member {
    crowd: Crowd,
    network: Network,
}

impl Crowd {
    /// Lets in one more connection from the address, where fewer than `most` are open.
    pub(super) fn enter(&self, address: IpAddr, most: usize) -> Option<Member> {
        let network = Network::of(address);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(network).or_insert(0);
        // Whoever is refused has others open: `most` is at least 1.
        if *count >= most.max(1) {
            return None;
        }
        *count += 1;
        Some(Member { crowd: self.clone(), network })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut counts = self.crowd.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_so_many_and_what_ends_makes_room() {
        let crowd = Crowd::default();
        let enter = |address: &str| crowd.enter(address.parse().unwrap(), 2);
        let first = enter("2001:db8::1").unwrap();
        let second = enter("2001:db8::2").unwrap();
        assert!(enter("2001:db8::3").is_none(), "one network is one client");
        let other = enter("2001:db8:0:1::1").unwrap();
        drop(first);
        let third = enter("2001:db8::3").unwrap();
        assert!(enter("2001:db8::1").is_none());
        drop((second, third, other));
        assert!(crowd.0.lock().unwrap().is_empty(), "nothing is kept of who left");
    }
}
