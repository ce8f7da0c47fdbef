"""Reads COUNT messages of TOPIC at BROKER as a group; prints key, value and headers of each, in base64.

With a file of DESCRIPTORS, values are messages of godwit.events.v1, and printed as JSON.
"""

import base64
import sys

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from kafka import KafkaConsumer


def text(data):
    return base64.b64encode(data).decode()


def decoder(path):
    pool = descriptor_pool.DescriptorPool()
    with open(path, "rb") as file:
        for described in descriptor_pb2.FileDescriptorSet.FromString(file.read()).file:
            pool.Add(described)
    described = pool.FindMessageTypeByName("godwit.events.v1.Values")
    values = message_factory.GetMessageClass(described)

    def decode(data):
        return json_format.MessageToJson(values.FromString(data), indent=None, ensure_ascii=False).encode()

    return decode


broker, topic, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
group, decode = "python", lambda data: data
if len(sys.argv) > 4:
    group, decode = "python-protobuf", decoder(sys.argv[4])
consumer = KafkaConsumer(
    topic, bootstrap_servers=broker, group_id=group, auto_offset_reset="earliest"
)
for left, record in zip(range(count), consumer):
    headers = [f"{text(name.encode())}:{text(value)}" for name, value in record.headers]
    print(" ".join([text(record.key), text(decode(record.value)), *headers]), flush=True)
consumer.close()
