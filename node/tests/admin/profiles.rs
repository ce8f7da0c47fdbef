//! `ProfileService` and `ModelService`.

use godwit_proto::v1::{
    CreateDeviceRequest, CreateProfileRequest, DeleteModelRequest, DeleteProfileRequest, Device,
    GetModelRequest, GetProfileRequest, ListModelsRequest, ListProfilesRequest, Profile,
    UpdateProfileRequest, UploadModelsRequest, device_service_client::DeviceServiceClient, model::Source,
    model_service_client::ModelServiceClient, profile_service_client::ProfileServiceClient,
};
use prost_types::FieldMask;
use tonic::Code;

use crate::node::{Node, field, reason};

const TANK: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<LWM2M><Object ObjectType="MODefinition">
  <Name>Tank</Name><ObjectID>26241</ObjectID><ObjectURN>urn:oma:lwm2m:x:26241:1.1</ObjectURN>
  <LWM2MVersion>1.0</LWM2MVersion><ObjectVersion>1.1</ObjectVersion>
  <MultipleInstances>Multiple</MultipleInstances><Mandatory>Optional</Mandatory>
  <Resources><Item ID="1"><Name>Level</Name><Operations>R</Operations>
    <MultipleInstances>Single</MultipleInstances><Mandatory>Mandatory</Mandatory><Type>Float</Type>
    <RangeEnumeration>0..100</RangeEnumeration><Units>%</Units><Description></Description></Item></Resources>
</Object></LWM2M>"#;

fn observing(name: &str, paths: &[&str]) -> Profile {
    Profile {
        name: name.to_owned(),
        observe: paths.iter().map(ToString::to_string).collect(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_profile_is_created_listed_updated_and_deleted() {
    let node = Node::open().await;
    let mut client = ProfileServiceClient::new(node.channel().await);
    let profile = Some(observing("profiles/lamp", &["/3311/0/5850"]));
    let request = CreateProfileRequest { profile, request_id: String::new() };
    let created = client.create_profile(request.clone()).await.unwrap().into_inner();
    assert_eq!(created.name, "profiles/lamp");
    assert_ne!(created.revision, 0);
    assert_eq!(reason(&client.create_profile(request).await.unwrap_err()), "PROFILE_EXISTS");

    let listed = client.list_profiles(ListProfilesRequest::default()).await.unwrap().into_inner();
    let names: Vec<_> = listed.profiles.iter().map(|profile| profile.name.as_str()).collect();
    assert_eq!(names, ["profiles/default", "profiles/demo", "profiles/lamp"]);

    let mut change = Profile { ack_first_block: true, ..observing("lamp", &["/3/0/9"]) };
    let mask = |field: &str| Some(FieldMask { paths: vec![field.to_owned()] });
    let request = |profile: &Profile, update_mask| UpdateProfileRequest {
        profile: Some(profile.clone()),
        update_mask,
        allow_missing: false,
    };
    let updated = client.update_profile(request(&change, mask("observe"))).await.unwrap().into_inner();
    assert_eq!((updated.observe, updated.ack_first_block), (vec!["/3/0/9".to_owned()], false));
    assert_eq!(
        field(&client.update_profile(request(&change, mask("nonsense"))).await.unwrap_err()),
        "update_mask"
    );
    change.revision = 1;
    assert_eq!(reason(&client.update_profile(request(&change, None)).await.unwrap_err()), "ETAG_MISMATCH");

    let delete = DeleteProfileRequest { name: "lamp".to_owned(), revision: 0 };
    client.delete_profile(delete).await.unwrap();
    let status = client.get_profile(GetProfileRequest { name: "lamp".to_owned() }).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "NO_SUCH_PROFILE"));
    assert_eq!(*node.endpoints.told.lock().unwrap(), ["profiles/lamp"; 3]);
}

#[tokio::test]
async fn the_default_profile_can_be_replaced_not_deleted() {
    let node = Node::open().await;
    let mut client = ProfileServiceClient::new(node.channel().await);
    let profile = Some(observing("default", &["/3/0/9"]));
    client
        .update_profile(UpdateProfileRequest { profile, update_mask: None, allow_missing: false })
        .await
        .unwrap();
    let shown = client.get_profile(GetProfileRequest { name: "default".to_owned() }).await.unwrap();
    assert_eq!(shown.into_inner().observe, ["/3/0/9"]);
    let delete = DeleteProfileRequest { name: "profiles/default".to_owned(), revision: 0 };
    let status = client.delete_profile(delete).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "BUILT_IN"));
}

#[tokio::test]
async fn a_profile_in_use_is_not_deleted() {
    let node = Node::open().await;
    let mut client = ProfileServiceClient::new(node.channel().await);
    let profile = Some(observing("lamp", &[]));
    client.create_profile(CreateProfileRequest { profile, ..Default::default() }).await.unwrap();
    let device = Device { endpoint: "ep".to_owned(), profile: "lamp".to_owned(), ..Default::default() };
    let request = CreateDeviceRequest { device: Some(device), ..Default::default() };
    DeviceServiceClient::new(node.channel().await).create_device(request).await.unwrap();
    let delete = DeleteProfileRequest { name: "lamp".to_owned(), revision: 0 };
    assert_eq!(reason(&client.delete_profile(delete).await.unwrap_err()), "IN_USE");
}

#[tokio::test]
async fn a_bad_profile_names_the_field() {
    let node = Node::open().await;
    let mut client = ProfileServiceClient::new(node.channel().await);
    let profile = Some(observing("lamp", &["/3/0/9", "/nonsense"]));
    let status =
        client.create_profile(CreateProfileRequest { profile, ..Default::default() }).await.unwrap_err();
    assert_eq!(field(&status), "profile.observe[1]");
    let profile = Some(observing("no spaces please", &[]));
    let status =
        client.create_profile(CreateProfileRequest { profile, ..Default::default() }).await.unwrap_err();
    assert_eq!(field(&status), "profile.name");
}

#[tokio::test]
async fn models_stand_side_by_side() {
    let node = Node::open().await;
    let mut client = ModelServiceClient::new(node.channel().await);
    let upload = |xml: &str, parent: &str, replace| UploadModelsRequest {
        parent: parent.to_owned(),
        xml: xml.as_bytes().to_vec(),
        replace,
    };
    let uploaded = client.upload_models(upload(TANK, "", false)).await.unwrap().into_inner();
    assert_eq!(uploaded.models[0].name, "models/26241_1.1");
    let again = client.upload_models(upload(TANK, "", false)).await.unwrap_err();
    assert_eq!((again.code(), reason(&again).as_str()), (Code::AlreadyExists, "MODEL_EXISTS"));
    client.upload_models(upload(TANK, "", true)).await.unwrap();
    let newer = TANK.replace("1.1", "1.2");
    client.upload_models(upload(&newer, "", false)).await.unwrap();
    client.upload_models(upload(TANK, "profiles/default", false)).await.unwrap();

    let list = ListModelsRequest { object: Some(26241), show_built_in: true, ..Default::default() };
    let listed = client.list_models(list).await.unwrap().into_inner().models;
    let names: Vec<_> = listed.iter().map(|model| model.name.as_str()).collect();
    assert_eq!(names, ["models/26241_1.1", "models/26241_1.2"]);
    let get = |name: &str| GetModelRequest { name: name.to_owned() };
    let of_profile = client.get_model(get("profiles/default/models/26241_1.1")).await.unwrap().into_inner();
    assert_eq!(of_profile.source(), Source::Profile);
    assert_eq!(
        (of_profile.resources[0].units.as_str(), of_profile.resources[0].r#type.as_str()),
        ("%", "Float")
    );
    assert_eq!(client.get_model(get("models/3_1.0")).await.unwrap().into_inner().source(), Source::BuiltIn);

    let delete = |name: &str| DeleteModelRequest { name: name.to_owned() };
    client.delete_model(delete("models/26241_1.1")).await.unwrap();
    for (name, expected) in [("models/26241_1.1", "NO_SUCH_MODEL"), ("models/3_1.0", "BUILT_IN")] {
        assert_eq!(reason(&client.delete_model(delete(name)).await.unwrap_err()), expected);
    }
    assert!(node.endpoints.told.lock().unwrap().iter().all(|told| told == "models"));
}

#[tokio::test]
async fn a_broken_model_names_its_element() {
    let node = Node::open().await;
    let mut client = ModelServiceClient::new(node.channel().await);
    let xml = TANK.replace("<ObjectID>26241</ObjectID>", "<ObjectID>many</ObjectID>").into_bytes();
    let status = client.upload_models(UploadModelsRequest { xml, ..Default::default() }).await.unwrap_err();
    assert_eq!(field(&status), "xml");
    assert!(status.message().contains("ObjectID") && status.message().contains("line 3"), "{status:?}");
}

#[tokio::test]
async fn built_in_models_come_in_pages() {
    let node = Node::open().await;
    let mut client = ModelServiceClient::new(node.channel().await);
    let mut request = ListModelsRequest { page_size: 10, show_built_in: true, ..Default::default() };
    let mut objects = Vec::new();
    loop {
        let page = client.list_models(request.clone()).await.unwrap().into_inner();
        objects.extend(page.models.iter().map(|model| (model.object, model.version.clone())));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert!(objects.is_sorted() && objects.len() > 50);
    objects.dedup();
    assert!(objects.iter().any(|(object, _)| *object == 3303));
}
