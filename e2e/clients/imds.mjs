// Prints what the AWS SDK for JavaScript finds on an instance.

import { createHash } from "node:crypto";
import { fromInstanceMetadata } from "@aws-sdk/credential-providers";
import { MetadataService } from "@aws-sdk/ec2-metadata-service";

// The SDK gives an instance one second to answer. A busy machine may need longer.
const timeout = 10_000;

const credentials = await fromInstanceMetadata({ timeout, ec2MetadataV1Disabled: true })();
const service = new MetadataService({ httpOptions: { timeout }, disableFetchToken: false });

console.log(JSON.stringify({
  keySHA256: createHash("sha256").update(credentials.accessKeyId).digest("hex"),
  hasSecret: Boolean(credentials.secretAccessKey),
  hasToken: Boolean(credentials.sessionToken),
  expires: credentials.expiration,
  region: await service.request("/latest/meta-data/placement/region", {}),
  instanceID: await service.request("/latest/meta-data/instance-id", {}),
}));
