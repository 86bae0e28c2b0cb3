//! Finding a cluster to join: where the members named by `join` may listen for others, one after another, again and again.

use super::metadata::{Member, Metadata, NodeId};

/// Where `node` listens for others.
pub fn address_of(map: &Metadata, node: NodeId) -> Option<String> {
    map.members.get(&node).map(Member::cluster_address)
}

/// Where the member listens for others that `seed` names, as far as that follows from the name: a client address, behind which an `@`
/// may tell the port for other nodes. Without one it is the usual one; which a member may deny.
pub fn named(seed: &str) -> Option<String> {
    if let Some((client, cluster_port)) = seed.split_once('@') {
        let host = client.rsplit_once(':').map_or(client, |(host, _)| host);
        return Some(format!("{host}:{cluster_port}"));
    }
    let Some((host, port)) = seed.rsplit_once(':') else { return Some(format!("{seed}:16379")) };
    let port = port.parse::<u16>().ok()?.checked_add(10000)?;
    Some(format!("{host}:{port}"))
}

/// The same, as the member itself tells it by its answer to CLUSTER NODES.
pub fn told(seed: &str, nodes: &str) -> Option<String> {
    let host = seed.rsplit_once(':').map_or(seed, |(host, _)| host);
    let me =
        nodes.lines().find(|line| line.split(' ').nth(2).is_some_and(|flags| flags.contains("myself")))?;
    let (_, port) = me.split(' ').nth(1)?.split_once('@')?;
    let port: u16 = port.split(',').next()?.parse().ok()?;
    (port != 0).then(|| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_names_where_it_listens_for_others() {
        assert_eq!(named("a:7000").as_deref(), Some("a:17000"));
        assert_eq!(named("a:7000@7500").as_deref(), Some("a:7500"));
        assert_eq!(named("a").as_deref(), Some("a:16379"));
        assert_eq!((named("a:60000"), named("a:x")), (None, None));
        let nodes = "f00 10.0.0.1:1@2 master - 0 0 1 connected\nba5 10.0.0.2:7000@7501,name myself,master - 0 0 1 connected 0-5\n";
        assert_eq!(told("a:7000", nodes).as_deref(), Some("a:7501"));
        for unclear in
            ["", "ba5 10.0.0.2:7000@0 myself,master", "ba5 10.0.0.2:7000 myself", "myself", "-NOAUTH no"]
        {
            assert_eq!(told("a:7000", unclear), None);
        }
    }
}
