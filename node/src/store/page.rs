//! Lists, page by page.

/// Which part of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// `next` of the page before; `None` for the first page.
    pub token: Option<String>,
    /// Items at most; the store caps it at 1,000.
    pub limit: usize,
}

/// The most items of a page.
pub const PAGE_LIMIT: usize = 1_000;

/// A part of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// In the list's order.
    pub items: Vec<T>,
    /// Where the next page begins; `None`: this is the last.
    pub next: Option<String>,
}

/// Which records a list shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceFilter {
    /// Only devices with a document, or only those without.
    pub provisioned: Option<bool>,
    /// Only devices with a registration, or only those without.
    pub registered: Option<bool>,
    /// Only devices of this profile, by their document or else their registration.
    pub profile: Option<String>,
}
