//! Names become addresses once, and the addresses that are called are those that were checked.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;

use crate::domain::address::Opened;

/// What the host's own configuration says.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Resolve for System {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = lookup_host((name.as_str(), 0)).await?;
            Ok(Box::new(found.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}

/// What a table says, and nothing else: for tests, which call no name server.
#[derive(Clone, Debug, Default)]
pub struct Table(pub HashMap<String, Vec<IpAddr>>);

impl Resolve for Table {
    fn resolve(&self, name: Name) -> Resolving {
        let found = self.0.get(name.as_str()).cloned();
        Box::pin(async move {
            let found = found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            let addresses = found.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}

/// Hands on the addresses of a name only when every one of them may be called. A name that leads
/// inside as well as outside is a trap, not a choice.
///
/// The connection goes to what is handed on here, and nothing asks again: a name that changes
/// between the look-up and the call changes nothing.
pub(super) struct Guarded {
    pub(super) inner: Arc<dyn Resolve>,
    pub(super) opened: Arc<Opened>,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let opened = self.opened.clone();
        let resolving = self.inner.resolve(name);
        Box::pin(async move {
            let addresses: Vec<SocketAddr> = resolving.await?.collect();
            for address in &addresses {
                opened.admit(address.ip())?;
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
