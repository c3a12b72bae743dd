// Package e2e proves ecs-local against what people run it with: a real Docker
// engine, Compose, and AWS SDKs of several languages. It is a module of its
// own, so that what it needs weighs on nobody who builds ecs-local.
//
// The tests build the program from the repository root, make images from it
// without pulling anything, and remove what they created. They send requests
// to loopback and to networks that they made, and to nothing else.
//
// Variables:
//
//	ECS_LOCAL_BUILD            a folder whose bin/ holds docker-compose, else it is looked for on PATH,
//	                           and whose clients/ is what scripts/e2e-clients.sh fetched; default: build
//	ECS_LOCAL_REQUIRE_DOCKER   1: without an engine or Compose the tests fail instead of being left out
//	ECS_LOCAL_REQUIRE_CLIENTS  1: the same for boto3, the AWS CLI, moto_server, Node.js, curl, a network
//	                           namespace (root, ip, nsenter), and what scripts/e2e-clients.sh fetches
package e2e
