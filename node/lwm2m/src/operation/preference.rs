//! Which content format a client is asked for and written to in.

use super::FormatUse;
use crate::format::ContentFormat;
use crate::model::LwM2mVersion;
use crate::registration::FormatSet;

/// The order in which formats that a client listed are liked, the most compact of the common ones first.
const LIKED: [ContentFormat; 4] =
    [ContentFormat::SenmlCbor, ContentFormat::SenmlJson, ContentFormat::Lwm2mCbor, ContentFormat::Tlv];

/// Chooses formats for one registration and remembers what its client could not do. 8 bytes.
///
/// The order: what the request names; the profile's; what the client listed in `ct` (SenML CBOR,
/// SenML JSON, LwM2M CBOR, TLV); TLV; then what is left of these that the client's version has.
/// Composite operations have no TLV.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormatPreference {
    profile: Option<ContentFormat>,
    listed: FormatSet,
    refused: FormatSet,
    version: LwM2mVersion,
}

impl FormatPreference {
    /// For a client of this version that listed these formats, under a profile that may name one.
    pub fn new(version: LwM2mVersion, listed: FormatSet, profile: Option<ContentFormat>) -> Self {
        Self { profile, listed, refused: FormatSet::default(), version }
    }

    /// With what the client refused before.
    #[must_use]
    pub fn with_refused(self, refused: FormatSet) -> Self {
        Self { refused, ..self }
    }

    /// What the client has refused.
    pub fn refused(&self) -> FormatSet {
        self.refused
    }

    /// Takes over what an Update listed, or what another profile names. What the client refused
    /// stays refused.
    pub fn update(&mut self, listed: FormatSet, profile: Option<ContentFormat>) {
        self.listed = listed;
        self.profile = profile;
    }

    /// The format to use. `chosen` is the request's own, which always counts. When everything was
    /// refused, the first one is tried again.
    pub fn pick(&self, chosen: Option<ContentFormat>, usage: FormatUse) -> ContentFormat {
        let all = || self.candidates(usage);
        let first = || all().find(|format| !self.refused.contains(*format)).or_else(|| all().next());
        chosen.or_else(first).unwrap_or(ContentFormat::Tlv)
    }

    /// After 4.06 or 4.15 to `format`: remembers that, and gives the next one to try. `None` when
    /// nothing is left, or when the request itself named the format.
    pub fn next(
        &mut self,
        format: ContentFormat,
        chosen: Option<ContentFormat>,
        usage: FormatUse,
    ) -> Option<ContentFormat> {
        if chosen.is_some() {
            return None;
        }
        self.refused.insert(format);
        self.candidates(usage).find(|format| !self.refused.contains(*format))
    }

    fn candidates(&self, usage: FormatUse) -> impl Iterator<Item = ContentFormat> {
        let Self { listed, version, .. } = *self;
        let profile = self.profile.filter(move |f| usage.carries(*f));
        let known = move |format: &ContentFormat| match format {
            ContentFormat::SenmlCbor | ContentFormat::SenmlJson => version >= LwM2mVersion::V1_1,
            ContentFormat::Lwm2mCbor => version >= LwM2mVersion::V1_2,
            _ => true,
        };
        let rest = [ContentFormat::Tlv].into_iter().chain(LIKED).chain([ContentFormat::Json]);
        let all = profile
            .into_iter()
            .chain(LIKED.into_iter().filter(move |format| listed.contains(*format)))
            .chain(rest.filter(known));
        all.filter(move |format| usage.carries(*format))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ContentFormat::{Json, Lwm2mCbor, SenmlCbor, SenmlJson, Text, Tlv};
    use FormatUse::{Composite, Values};

    fn order(mut preference: FormatPreference, usage: FormatUse) -> Vec<ContentFormat> {
        let mut order = vec![preference.pick(None, usage)];
        while let Some(next) = preference.next(order[order.len() - 1], None, usage) {
            order.push(next);
        }
        order
    }

    fn preference(version: LwM2mVersion, ct: &str, profile: Option<ContentFormat>) -> FormatPreference {
        FormatPreference::new(version, FormatSet::parse(ct).unwrap(), profile)
    }

    #[test]
    fn the_order_is_profile_then_listed_then_tlv() {
        assert_eq!(order(preference(LwM2mVersion::V1_0, "", None), Values), [Tlv, Json]);
        let listed = preference(LwM2mVersion::V1_1, "11542 110 112 60", None);
        assert_eq!(order(listed, Values), [SenmlCbor, SenmlJson, Tlv, Json]);
        let profile = preference(LwM2mVersion::V1_1, "112", Some(Json));
        assert_eq!(order(profile, Values), [Json, SenmlCbor, Tlv, SenmlJson]);
        assert_eq!(order(profile, Composite), [SenmlCbor, SenmlJson]);
        let newest = preference(LwM2mVersion::V1_2, "11544", None);
        assert_eq!(order(newest, Composite), [Lwm2mCbor, SenmlCbor, SenmlJson]);
    }

    #[test]
    fn what_a_client_refused_is_remembered() {
        let mut preference = preference(LwM2mVersion::V1_1, "112 110", None);
        assert_eq!(preference.next(SenmlCbor, None, Values), Some(SenmlJson));
        assert_eq!(preference.pick(None, Composite), SenmlJson);
        preference.update(FormatSet::parse("112").unwrap(), None);
        assert_eq!(preference.pick(None, Values), Tlv);
    }

    #[test]
    fn a_client_that_refuses_everything_is_asked_in_the_first_again() {
        let mut preference = preference(LwM2mVersion::V1_0, "", None);
        assert_eq!(preference.next(Tlv, None, Values), Some(Json));
        assert_eq!(preference.next(Json, None, Values), None);
        assert_eq!(preference.pick(None, Values), Tlv);
    }

    #[test]
    fn the_format_of_a_request_counts_and_has_no_next() {
        let mut preference = preference(LwM2mVersion::V1_1, "112", None);
        assert_eq!(preference.pick(Some(Text), Values), Text);
        assert_eq!(preference.next(Text, Some(Text), Values), None);
        assert_eq!(preference.pick(None, Values), SenmlCbor);
    }

    #[test]
    fn a_preference_is_small() {
        assert!(size_of::<FormatPreference>() <= 8);
    }
}
