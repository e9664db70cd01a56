//! temporary
use std::io::Write;
use super::Trouble;
use crate::keys::Config;
pub(super) fn init(c:&Config,s:&[String],k:&dyn crate::base::Clock,_o:&mut dyn Write)->Result<u8,Trouble>{ crate::keys::init(c,s,k).map(|_|0).map_err(super::failed)}
pub(super) fn list(_c:&Config,_j:bool,_o:&mut dyn Write)->Result<u8,Trouble>{ Ok(0)}
pub(super) fn rotate(_c:&Config,_j:&str,_k:&dyn crate::base::Clock,_o:&mut dyn Write)->Result<u8,Trouble>{ Ok(0)}
pub(super) fn verify(_c:&Config,_j:bool,_o:&mut dyn Write)->Result<u8,Trouble>{ Ok(0)}
