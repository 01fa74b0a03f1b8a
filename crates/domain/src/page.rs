//! A part of a list, begun anywhere in it.

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// How many elements stand before it.
    pub skip: i64,
    /// How many it holds at the most.
    pub most: i64,
}

/// A part of a list, and how much there is, both of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part<T> {
    /// The elements, in the list's order; none where the window begins behind the last.
    pub elements: Vec<T>,
    /// How many elements the whole list holds.
    pub total: i64,
}
