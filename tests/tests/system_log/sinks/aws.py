"""A bus, a rule and a queue in moto: python3 aws.py setup|drain MOTO_PORT FOLDER

`setup` writes a user's keys to FOLDER/keys, `drain` appends the events that have reached the queue to FOLDER/received.
"""

import json
import sys
from pathlib import Path

import boto3

WHAT, MOTO, FOLDER = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])


def client(service, key, secret):
    return boto3.client(
        service,
        endpoint_url=f"http://127.0.0.1:{MOTO}",
        region_name="eu-central-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
    )


def setup():
    # The three requests that moto takes without a right to them.
    iam = client("iam", "nobody", "nothing")
    iam.create_user(UserName="edgeward")
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.put_user_policy(UserName="edgeward", PolicyName="all", PolicyDocument=json.dumps(policy))
    keys = iam.create_access_key(UserName="edgeward")["AccessKey"]
    keys = {name: keys[name] for name in ("AccessKeyId", "SecretAccessKey")}
    events, sqs = client("events", *keys.values()), client("sqs", *keys.values())
    events.create_event_bus(Name="security")
    queue = sqs.create_queue(QueueName="siem")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = {"source": ["edgeward"], "detail-type": [{"prefix": ""}]}
    events.put_rule(Name="all", EventBusName="security", EventPattern=json.dumps(pattern))
    failed = events.put_targets(Rule="all", EventBusName="security", Targets=[{"Id": "1", "Arn": arn}])
    assert failed["FailedEntryCount"] == 0, failed
    (FOLDER / "keys").write_text(json.dumps({**keys, "queue": queue}))


def drain():
    keys = json.loads((FOLDER / "keys").read_text())
    sqs = client("sqs", keys["AccessKeyId"], keys["SecretAccessKey"])
    with open(FOLDER / "received", "a") as out:
        while True:
            found = sqs.receive_message(QueueUrl=keys["queue"], MaxNumberOfMessages=10).get("Messages", [])
            if not found:
                return
            for message in found:
                event = json.loads(message["Body"])
                assert event["detail-type"] == event["detail"]["eventType"], event
                out.write(json.dumps(event["detail"]) + "\n")
            handles = [{"Id": str(n), "ReceiptHandle": it["ReceiptHandle"]} for n, it in enumerate(found)]
            sqs.delete_message_batch(QueueUrl=keys["queue"], Entries=handles)


{"setup": setup, "drain": drain}[WHAT]()
