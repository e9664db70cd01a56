//! temporary
pub fn line(e:&crate::audit::Entry)->String{ e.to_string() }
