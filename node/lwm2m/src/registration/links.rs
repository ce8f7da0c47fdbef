//! What the link payload of a Register or Update says.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{FormatSet, ObjectList, RootPath};
use crate::link::{Link, Links};
use crate::model::{LwM2mVersion, ObjectVersion};
use crate::refusal::Refusal;

/// Resource type of the link that names the root (Core 1.2.2 §6.4.1).
const ROOT_TYPE: &str = "oma.lwm2m";

/// A link payload, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredLinks {
    /// The root, if a link names one.
    pub root: Option<RootPath>,
    /// `ct` of the root's link, if it has one.
    pub formats: Option<FormatSet>,
    /// Never empty.
    pub objects: Arc<ObjectList>,
}

#[derive(Default)]
struct Object {
    own: Option<ObjectVersion>,
    /// Clients have put it on an instance's link; it counts while the object's link names none.
    of_instance: Option<ObjectVersion>,
    instances: Vec<u16>,
}

impl RegisteredLinks {
    /// Reads a payload. `root` is where the objects are when no link says it: `/` in a Register,
    /// what was registered before in an Update.
    ///
    /// Links outside of the root, and those that name neither an object nor an instance, are passed
    /// over; so are ids of 65535, which LwM2M reserves.
    pub fn parse(payload: &[u8], version: LwM2mVersion, root: &RootPath) -> Result<Self, Refusal> {
        let links = Links::new(payload)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| Refusal::bad_request(format!("links: {error}")))?;
        let mut typed = links.iter().filter(|link| is_root(link));
        let named = typed.next();
        if typed.next().is_some() {
            return Err(Refusal::bad_request("links: two roots (rt=\"oma.lwm2m\")"));
        }
        let named_root = named.map(|link| {
            RootPath::parse(&link.target)
                .ok_or_else(|| Refusal::bad_request(format!("links: <{}> cannot be a root", link.target)))
        });
        let named_root = named_root.transpose()?;
        let base = named_root.as_ref().unwrap_or(root);
        // Clients that list formats on the root need not type it.
        let root_link =
            named.or_else(|| links.iter().find(|link| RootPath::parse(&link.target).as_ref() == Some(base)));
        let formats = root_link.and_then(|link| link.attribute("ct")).map(|ct| {
            FormatSet::parse(ct).ok_or_else(|| Refusal::bad_request(format!("links: ct cannot be {ct:?}")))
        });
        let objects = Arc::new(objects(&links, version, base)?);
        Ok(Self { formats: formats.transpose()?, root: named_root, objects })
    }
}

fn is_root(link: &Link<'_>) -> bool {
    link.attribute("rt").is_some_and(|types| types.split(' ').any(|t| t == ROOT_TYPE))
}

fn objects(links: &[Link<'_>], version: LwM2mVersion, root: &RootPath) -> Result<ObjectList, Refusal> {
    let mut objects: BTreeMap<u16, Object> = BTreeMap::new();
    for link in links {
        let Some(path) = root.strip(&link.target) else { continue };
        let (id, instance) = match *path.segments() {
            [id] if id != u16::MAX => (id, None),
            [id, instance] if id != u16::MAX && instance != u16::MAX => (id, Some(instance)),
            _ => continue,
        };
        let named = link.attribute("ver").map(|ver| {
            ver.parse::<ObjectVersion>()
                .map_err(|_| Refusal::bad_request(format!("links: <{}> has a broken ver", link.target)))
        });
        let named = named.transpose()?;
        let object = objects.entry(id).or_default();
        match instance {
            Some(instance) => {
                object.of_instance = object.of_instance.or(named);
                object.instances.push(instance);
            }
            None if object.own.is_some_and(|own| named.is_some_and(|other| own != other)) => {
                return Err(Refusal::bad_request(format!("links: object {id} has two versions")));
            }
            None => object.own = object.own.or(named),
        }
    }
    if objects.is_empty() {
        return Err(Refusal::bad_request(format!("links: no object under {root}")));
    }
    Ok(ObjectList::new(objects.into_iter().map(|(id, object)| {
        let named = object.own.or(object.of_instance);
        let version = named.unwrap_or_else(|| version.default_object_version(id));
        (id, version, named.is_some(), object.instances)
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(payload: &str, root: &str) -> Result<RegisteredLinks, String> {
        let root = RootPath::parse(root).unwrap();
        RegisteredLinks::parse(payload.as_bytes(), LwM2mVersion::V1_1, &root).map_err(|refusal| {
            assert_eq!(refusal.code, godwit_coap::Code::BAD_REQUEST);
            refusal.diagnostic
        })
    }

    #[test]
    fn formats_are_read_from_the_link_of_the_root() {
        let formats = |payload, root| read(payload, root).unwrap().formats.map(|f| f.iter().count());
        assert_eq!(formats("</>;ct=\"110 112\",</1/0>", "/"), Some(2));
        assert_eq!(formats("</a>;rt=\"x oma.lwm2m\";ct=60,</a/1/0>", "/"), Some(1));
        assert_eq!(formats("</a>;ct=60,</a/1/0>", "/a"), Some(1));
        assert_eq!(formats("</a>;ct=60,</1/0>", "/"), None);
    }

    #[test]
    fn an_update_without_a_root_keeps_the_one_before() {
        let links = read("</lwm2m/3/0>,</3/1>", "/lwm2m").unwrap();
        assert_eq!((links.root, links.objects.to_string()), (None, "</3/0>".to_owned()));
    }

    #[test]
    fn a_version_on_an_instance_counts_when_its_object_has_none() {
        assert_eq!(read("</3/0>;ver=1.2", "/").unwrap().objects.to_string(), "</3>;ver=1.2,</3/0>");
        assert_eq!(
            read("</3/0>;ver=1.2,</3>;ver=1.1", "/").unwrap().objects.to_string(),
            "</3>;ver=1.1,</3/0>"
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused_in_words() {
        for (payload, words) in [
            ("", "links: byte 0: there is no link"),
            ("</1/0>,", "links: byte 7: expected '<'"),
            ("</text>,</1/0/0>,</65535>,</1/65535>", "links: no object under /"),
            ("</a>;rt=oma.lwm2m,</3/0>", "links: no object under /a/"),
            ("</a>;rt=oma.lwm2m,</b>;rt=oma.lwm2m,</a/3/0>", "links: two roots (rt=\"oma.lwm2m\")"),
            ("</a//b>;rt=oma.lwm2m", "links: </a//b> cannot be a root"),
            ("</3>;ver=one", "links: </3> has a broken ver"),
            ("</3>;ver=1.0,</3>;ver=1.1", "links: object 3 has two versions"),
            ("</>;ct=all,</3/0>", "links: ct cannot be \"all\""),
        ] {
            assert_eq!(read(payload, "/").unwrap_err(), words, "{payload}");
        }
    }
}
