"""Runs cloud-init's EC2 data source and prints what it crawled and asked for.

Arguments: the folder of cloud-init's modules, the URL of the instance.
"""

import json
import logging
import sys

sys.path.insert(0, sys.argv[1])

from cloudinit import helpers, url_helper, util
from cloudinit.sources import DataSourceEc2 as ec2

logging.basicConfig(stream=sys.stderr, level=logging.WARNING)

# This machine's hardware is not EC2's: the only thing that cloud-init is told.
ec2.identify_platform = lambda: ec2.CloudNames.AWS
# It would ask DNS for names that do not exist, to see whether DNS lies.
util._DNS_REDIRECT_IP = set()

requests = []
readurl = url_helper.readurl


def recorded(url, *args, **kwargs):
    # What is refused once is refused: a retry would only hide it.
    kwargs["retries"] = 0
    try:
        response = readurl(url, *args, **kwargs)
    except url_helper.UrlError as e:
        requests.append({"url": url, "status": e.code or 0})
        raise
    requests.append({"url": url, "status": response.code})
    return response


url_helper.readurl = recorded

source = ec2.DataSourceEc2(
    {"datasource": {"Ec2": {"metadata_urls": [sys.argv[2]], "max_wait": 20, "timeout": 10}}},
    None,
    helpers.Paths({}),
)
if not source._get_data():
    sys.exit("cloud-init found no data source")
macs = source.metadata["network"]["interfaces"]["macs"]
names = {mac: f"eth{macs[mac]['device-number']}" for mac in macs}
print(json.dumps({
    "requests": requests,
    "version": source._crawled_metadata["_metadata_api_version"],
    "metadata": source.metadata,
    "identity": source._crawled_metadata["dynamic"]["instance-identity"],
    "userData": source.userdata_raw.decode(),
    "instanceID": source.get_instance_id(),
    "region": source.region,
    "availabilityZone": source.availability_zone,
    "publicKeys": source.get_public_ssh_keys(),
    "network": ec2.convert_ec2_metadata_network_config(
        source.metadata["network"], macs_to_nics=names, fallback_nic="eth0"
    ),
}))
