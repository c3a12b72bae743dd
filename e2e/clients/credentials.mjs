// Prints who the AWS SDK for JavaScript is, by the credentials that it finds
// where it looks for them by itself.

import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";

const { Arn } = await new STSClient({}).send(new GetCallerIdentityCommand({}));
console.log(Arn);
