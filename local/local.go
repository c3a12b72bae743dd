// Package local holds the words and the rules of ecs-local: what a container,
// a task and a caller are, and who is calling. It does no input or output and
// imports no HTTP, Docker, AWS or YAML package.
//
// The words, used alike in every package:
//
//   - A container is one Docker container, seen as ECS would describe it.
//   - A task is the set of containers that ECS would call a task. Locally it
//     is a Compose project.
//   - A directory is an immutable snapshot of all containers and tasks. It
//     answers who is calling.
//   - A caller is the container, and its task, on whose behalf a request is
//     answered.
//   - A role is what credentials are asked for.
//   - A document is what goes out on the wire.
package local

// The addresses at which AWS serves containers. The network layout that makes
// them reachable is in docs/networking.md.
const (
	// ECSAddress is where containers reach the ECS agent.
	ECSAddress = "169.254.170.2"
	// IMDSAddress is where they reach the instance metadata service.
	IMDSAddress = "169.254.169.254"
	// PodIdentityAddress and PodIdentityAddress6 are where pods of Amazon EKS
	// reach the Pod Identity agent.
	// https://docs.aws.amazon.com/eks/latest/userguide/pod-id-agent-setup.html
	PodIdentityAddress  = "169.254.170.23"
	PodIdentityAddress6 = "fd00:ec2::23"
)

// Defaults for what neither Docker, a label nor the configuration says.
const (
	DefaultCluster  = "ecs-local"
	DefaultRegion   = "us-east-1"
	DefaultAccount  = "000000000000"
	DefaultRevision = "1"
	DefaultLaunch   = "EC2"
)

// Labels that AWS defines: read from containers, and shown in their metadata.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-response.html
const (
	LabelCluster       = "com.amazonaws.ecs.cluster"
	LabelTaskARN       = "com.amazonaws.ecs.task-arn"
	LabelContainerName = "com.amazonaws.ecs.container-name"
	LabelFamily        = "com.amazonaws.ecs.task-definition-family"
	LabelRevision      = "com.amazonaws.ecs.task-definition-version"
)

// Labels for what AWS has no label for.
const (
	LabelTaskRole         = "ecs-local.task-role"
	LabelExecutionRole    = "ecs-local.execution-role"
	LabelServiceName      = "ecs-local.service-name"
	LabelLaunchType       = "ecs-local.launch-type"
	LabelAvailabilityZone = "ecs-local.availability-zone"
	LabelTaskTags         = "ecs-local.task-tags"
	LabelTaskCPU          = "ecs-local.task-cpu"
	LabelTaskMemory       = "ecs-local.task-memory"
	LabelNetworkMode      = "ecs-local.network-mode"
	LabelType             = "ecs-local.type"
	LabelServiceTask      = "ecs-local.service-task"    // true, false
	LabelFaultInjection   = "ecs-local.fault-injection" // true, false
)

// LabelMetadataFile asks for the container metadata file. Its value is a
// directory in the file system of ecs-local.
const LabelMetadataFile = "ecs-local.metadata-file"

// Labels that Compose puts on what it creates.
const (
	LabelComposeProject = "com.docker.compose.project"
	LabelComposeService = "com.docker.compose.service"
)
