//! `sudare policy`.
