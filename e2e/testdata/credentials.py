"""Prints who boto3 is, by the credentials that a container's endpoint gave it."""

import boto3

session = boto3.Session()
method = session.get_credentials().method
if method != "container-role":
    raise SystemExit(f"the credentials come from {method}, not from the endpoint of a container")
print(session.client("sts").get_caller_identity()["Arn"])
