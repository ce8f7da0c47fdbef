//! Budgets of what strangers may cost: handshakes under way, cookies, look-ups.
//!
//! What is under way holds a permit, and a permit gives back what it holds when it is dropped: nothing that fails, times
//! out or panics can leave a counter behind.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use metrics::Gauge;

/// How much may be under way at once, in the whole process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budgets {
    /// Handshakes.
    pub handshakes: u32,
    /// Handshakes of one /24 (IPv4) or /56 (IPv6).
    pub handshakes_per_prefix: u32,
    /// Cookies sent in one second.
    pub cookies: u32,
    /// Look-ups of sessions that no shard has in memory.
    pub activations: u32,
}

impl Default for Budgets {
    fn default() -> Self {
        Self { handshakes: 1000, handshakes_per_prefix: 32, cookies: 10_000, activations: 4096 }
    }
}

/// Why a handshake may not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// [`Budgets::handshakes`] are under way.
    Total,
    /// [`Budgets::handshakes_per_prefix`] are under way from there.
    Prefix,
}

/// The budgets of a process and what is left of them.
#[derive(Debug)]
pub struct Admission {
    budgets: Budgets,
    handshakes: AtomicU32,
    prefixes: Mutex<HashMap<Prefix, u32>>,
    /// The second in the upper half, the cookies sent in it in the lower.
    cookies: AtomicU64,
    activations: AtomicU32,
}

impl Admission {
    /// With all budgets untouched.
    pub fn new(budgets: Budgets) -> Arc<Self> {
        Arc::new(Self {
            budgets,
            handshakes: AtomicU32::new(0),
            prefixes: Mutex::default(),
            cookies: AtomicU64::new(0),
            activations: AtomicU32::new(0),
        })
    }

    /// Lets a handshake begin whose client has returned a good cookie, so that its address is real. `gauge` shows it for as
    /// long as it lasts.
    ///
    /// # Errors
    /// Which budget is used up.
    pub fn handshake(self: &Arc<Self>, from: IpAddr, gauge: &Gauge) -> Result<Handshake, Full> {
        if !take(&self.handshakes, self.budgets.handshakes) {
            return Err(Full::Total);
        }
        let prefix = Prefix::of(from);
        let mut prefixes = self.prefixes.lock().unwrap_or_else(PoisonError::into_inner);
        let count = prefixes.entry(prefix).or_insert(0);
        if *count >= self.budgets.handshakes_per_prefix {
            if *count == 0 {
                prefixes.remove(&prefix);
            }
            self.handshakes.fetch_sub(1, Ordering::Relaxed);
            return Err(Full::Prefix);
        }
        *count += 1;
        gauge.increment(1.0);
        Ok(Handshake { admission: self.clone(), prefix, gauge: gauge.clone() })
    }

    /// Whether one more cookie may be sent in this second.
    pub fn cookie(&self, unix: u64) -> bool {
        let second = unix << 32;
        let next = |packed: u64| {
            let sent = if packed & !u64::from(u32::MAX) == second { packed & u64::from(u32::MAX) } else { 0 };
            (sent < u64::from(self.budgets.cookies)).then_some(second | (sent + 1))
        };
        self.cookies.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }

    /// Lets a look-up begin, if there is room.
    pub fn activation(self: &Arc<Self>) -> Option<Activation> {
        take(&self.activations, self.budgets.activations).then(|| Activation(self.clone()))
    }

    /// Handshakes under way.
    pub fn handshakes(&self) -> u32 {
        self.handshakes.load(Ordering::Relaxed)
    }
}

fn take(count: &AtomicU32, limit: u32) -> bool {
    let next = |count: u32| (count < limit).then_some(count + 1);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
}

/// A handshake under way.
pub struct Handshake {
    admission: Arc<Admission>,
    prefix: Prefix,
    gauge: Gauge,
}

impl std::fmt::Debug for Handshake {
    /// Without the network that it comes from.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handshake")
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.gauge.decrement(1.0);
        self.admission.handshakes.fetch_sub(1, Ordering::Relaxed);
        let mut prefixes = self.admission.prefixes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = prefixes.entry(self.prefix) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// A look-up under way.
#[derive(Debug)]
pub struct Activation(Arc<Admission>);

impl Drop for Activation {
    fn drop(&mut self) {
        self.0.activations.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whom an address most likely belongs to: the /24 of an IPv4 address, the /56 of an IPv6 one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Prefix([u8; 8]);

impl Prefix {
    fn of(address: IpAddr) -> Self {
        let mut prefix = [0; 8];
        match address.to_canonical() {
            // No global IPv6 address begins with 0xff: the families don't meet.
            IpAddr::V4(ip) => {
                prefix[0] = 0xff;
                prefix[1..4].copy_from_slice(&ip.octets()[..3]);
            }
            IpAddr::V6(ip) => prefix[..7].copy_from_slice(&ip.octets()[..7]),
        }
        Self(prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(handshakes: u32, handshakes_per_prefix: u32) -> Arc<Admission> {
        Admission::new(Budgets { handshakes, handshakes_per_prefix, cookies: 3, activations: 2 })
    }

    fn begin(admission: &Arc<Admission>, from: IpAddr) -> Result<Handshake, Full> {
        admission.handshake(from, &Gauge::noop())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_prefix_that_is_full_keeps_nobody_else_out() {
        let admission = admission(10, 2);
        let held = [begin(&admission, ip("10.0.0.1")), begin(&admission, ip("10.0.0.2"))];
        assert_eq!(begin(&admission, ip("10.0.0.3")).err(), Some(Full::Prefix));
        assert_eq!(begin(&admission, ip("::ffff:10.0.0.3")).err(), Some(Full::Prefix), "the same network");
        assert!(begin(&admission, ip("10.0.1.3")).is_ok());
        drop(held);
        assert!(begin(&admission, ip("10.0.0.3")).is_ok());
    }

    #[test]
    fn an_ipv6_prefix_has_56_bits() {
        let admission = admission(10, 1);
        let _held = begin(&admission, ip("2001:db8:0:1::1")).unwrap();
        assert_eq!(begin(&admission, ip("2001:db8:0:ff::1")).err(), Some(Full::Prefix));
        assert!(begin(&admission, ip("2001:db8:0:100::1")).is_ok());
    }

    #[test]
    fn every_permit_comes_back_however_its_handshake_ends() {
        let admission = admission(2, 5);
        let panicking = std::panic::catch_unwind({
            let admission = admission.clone();
            move || {
                let _held = begin(&admission, ip("10.0.0.1")).unwrap();
                panic!("on purpose");
            }
        });
        assert!(panicking.is_err());
        let held: Vec<_> = (1..3).map(|n| begin(&admission, ip(&format!("10.0.{n}.1"))).unwrap()).collect();
        assert_eq!(begin(&admission, ip("10.0.9.1")).err(), Some(Full::Total));
        assert_eq!(admission.handshakes(), 2);
        drop(held);
        assert_eq!(admission.handshakes(), 0);
        assert!(admission.prefixes.lock().unwrap().is_empty(), "no prefix is kept");
    }

    #[test]
    fn a_refused_handshake_leaves_nothing_behind() {
        let admission = admission(5, 0);
        assert_eq!(begin(&admission, ip("10.0.0.1")).err(), Some(Full::Prefix));
        assert_eq!(admission.handshakes(), 0);
        assert!(admission.prefixes.lock().unwrap().is_empty());
    }

    #[test]
    fn cookies_are_counted_by_the_second() {
        let admission = admission(1, 1);
        assert_eq!([7, 7, 7, 7, 8].map(|second| admission.cookie(second)), [true, true, true, false, true]);
    }

    #[test]
    fn look_ups_are_bounded() {
        let admission = admission(1, 1);
        let held = [admission.activation(), admission.activation()];
        assert!(held.iter().all(Option::is_some) && admission.activation().is_none());
        drop(held);
        assert!(admission.activation().is_some());
    }
}
