use proptest::prelude::*;

use super::*;

const OBJECT: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!-- a comment -->
<LWM2M>
  <Object ObjectType="MODefinition">
    <Name> Door   Lock </Name>
    <Description1><![CDATA[<b> not kept & not read]]></Description1>
    <ObjectID>33000</ObjectID>
    <ObjectURN>urn:oma:lwm2m:x:33000:2.1</ObjectURN>
    <MultipleInstances>Multiple</MultipleInstances>
    <Mandatory>Optional</Mandatory>
    <Resources>
      <Item ID="5">
        <Name>Fast &amp; Loose &#176;</Name><Operations>RW</Operations>
        <MultipleInstances>Multiple</MultipleInstances><Mandatory>Mandatory</Mandatory>
        <Type>Unsigned Integer</Type><RangeEnumeration>0..7</RangeEnumeration><Units>s</Units>
        <Description/>
      </Item>
      <Item ID="1">
        <Name>Open</Name><Operations>E</Operations>
        <MultipleInstances>Single</MultipleInstances><Mandatory>Optional</Mandatory>
        <Type></Type><RangeEnumeration/><Units/><Description/>
      </Item>
    </Resources>
  </Object>
</LWM2M>
"#;

fn refused(document: &str) -> DdfError {
    load_ddf(document.as_bytes()).unwrap_err()
}

fn changed(from: &str, to: &str) -> DdfError {
    assert!(OBJECT.contains(from));
    refused(&OBJECT.replacen(from, to, 1))
}

#[test]
fn a_definition_becomes_a_model_with_resources_by_id() {
    let Ok(Ddf::Objects(objects)) = load_ddf(OBJECT.as_bytes()) else { panic!("not objects") };
    let [object] = objects.as_slice() else { panic!("not one object") };
    assert_eq!((object.id, object.name.as_ref()), (33000, "Door Lock"));
    assert_eq!(object.version, ObjectVersion::new(2, 1), "from the URN");
    assert!(object.multiple && !object.mandatory);
    assert_eq!(object.resources.iter().map(|r| r.id).collect::<Vec<_>>(), [1, 5]);
    let fast = object.resource(5).unwrap();
    assert_eq!((fast.name.as_ref(), fast.unit.as_ref()), ("Fast & Loose °", "s"));
    assert!(fast.multiple && fast.mandatory && fast.operations.read && fast.operations.write);
    assert_eq!(fast.value_type, Some(ValueType::Unsigned));
    assert_eq!(fast.range, Some(Range::Number { min: 0.0, max: 7.0 }));
    let open = object.resource(1).unwrap();
    assert!(open.operations.execute && open.value_type.is_none() && open.range.is_none());
    assert_eq!(object.resource(2), None);
}

#[test]
fn an_object_version_element_goes_before_the_urn() {
    let text = OBJECT.replacen("<Mult", "<ObjectVersion>1.3</ObjectVersion><Mult", 1);
    let Ok(Ddf::Objects(objects)) = load_ddf(text.as_bytes()) else { panic!("not objects") };
    assert_eq!(objects[0].version, ObjectVersion::new(1, 3));
}

#[test]
fn a_dtd_and_entities_are_refused_by_name() {
    let dtd = refused("<?xml version=\"1.0\"?>\n<!DOCTYPE x [<!ENTITY a \"b\">]>\n<LWM2M/>");
    assert_eq!((dtd.fault, dtd.line), (DdfFault::Dtd, 2));
    let entity = changed("&amp;", "&xxe;");
    assert_eq!(entity.fault, DdfFault::Entity("xxe".into()));
    assert_eq!((entity.element.as_str(), entity.line), ("Name", 13));
}

#[test]
fn an_error_names_the_element_and_its_line() {
    let bad = changed("<ObjectID>33000", "<ObjectID>70000");
    assert_eq!(bad.to_string(), "line 7, <ObjectID>: ObjectID cannot be \"70000\"");
    assert_eq!(&OBJECT[bad.offset..bad.offset + 10], "<ObjectID>");
    let bad = changed("<Type>Unsigned Integer", "<Type>Word");
    assert_eq!(bad.to_string(), "line 15, <Type>: Type cannot be \"Word\"");
    let bad = changed("<Item ID=\"5\">", "<Item>");
    assert_eq!((bad.line, bad.fault), (12, DdfFault::MissingAttribute("ID")));
    let bad = changed("<Item ID=\"1\">", "<Item ID=\"5\">");
    assert_eq!((bad.line, bad.fault), (18, DdfFault::Duplicate(5)));
    let bad = changed("<Operations>RW</Operations>", "");
    assert_eq!((bad.line, bad.fault), (12, DdfFault::MissingElement("Operations")));
    let bad = changed("<Operations>RW", "<Operations>RR");
    assert_eq!((bad.element.as_str(), bad.line), ("Operations", 13));
    let bad = changed("<Mandatory>Optional", "<Mandatory>Perhaps");
    assert_eq!(bad.line, 10);
    let bad = changed("<ObjectID>33000</ObjectID>", "<ObjectID>1</ObjectID><ObjectID>2</ObjectID>");
    assert_eq!(bad.fault, DdfFault::Repeated("ObjectID".into()));
    let bad = changed("MODefinition", "Monster");
    assert!(matches!(bad.fault, DdfFault::Value { of, .. } if of == "ObjectType"));
    let bad = changed("33000:2.1", "33000:two");
    assert_eq!((bad.element.as_str(), bad.line), ("ObjectURN", 8));
}

#[test]
fn what_is_not_well_formed_is_refused() {
    for text in [
        "",
        "   ",
        "<",
        "<a",
        "<a>",
        "<a></b>",
        "</a>",
        "<a/><b/>",
        "<a>&lt</a>",
        "text",
        "<LWM2M>&#0;</LWM2M>",
    ] {
        assert!(matches!(refused(text).fault, DdfFault::Xml(_)), "{text:?}: {:?}", refused(text));
    }
    assert_eq!(refused("<html/>").fault, DdfFault::NotADefinition);
    assert_eq!(refused("<LWM2M/>").fault, DdfFault::MissingElement("Object"));
    assert_eq!(load_ddf(b"<LWM2M>\n\xff</LWM2M>").unwrap_err().line, 2);
    assert_eq!(changed("UTF-8", "UTF-16").fault, DdfFault::Encoding);
}

#[test]
fn size_depth_and_count_are_bounded() {
    assert!(matches!(
        refused(&" ".repeat(MAX_DOCUMENT + 1)).fault,
        DdfFault::Limit { of: "bytes", max: MAX_DOCUMENT }
    ));
    assert!(matches!(refused(&"<a>".repeat(100)).fault, DdfFault::Limit { of: "levels", .. }));
    let many = format!("<LWM2M>{}</LWM2M>", "<a/>".repeat(100_000));
    assert!(matches!(refused(&many).fault, DdfFault::Limit { of: "elements", .. }));
}

proptest! {
    #[test]
    fn a_mangled_file_is_read_or_refused(
        from in 0..OBJECT.len(),
        len in 0..40usize,
        patch in proptest::collection::vec(prop_oneof![any::<u8>(), proptest::sample::select(b"<>&;\"'/!-[]?=#x".to_vec())], 0..12),
    ) {
        let mut document = OBJECT.as_bytes().to_vec();
        let to = (from + len).min(document.len());
        document.splice(from..to, patch);
        if let Err(error) = load_ddf(&document) {
            prop_assert!(error.offset <= document.len() && error.line >= 1);
        }
    }
}
