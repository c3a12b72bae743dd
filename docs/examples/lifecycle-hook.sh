#!/bin/sh
# Runs on an instance of an Auto Scaling group that has a termination lifecycle
# hook. When the group is about to terminate the instance, it runs a command
# that drains it, and then lets the group go on.
#
#   lifecycle-hook.sh GROUP HOOK COMMAND...
#
# https://docs.aws.amazon.com/autoscaling/ec2/userguide/retrieving-target-lifecycle-state-through-imds.html
set -eu
group=$1 hook=$2
shift 2
region=$(ecs-local imds get placement/region)
instance=$(ecs-local imds get instance-id)

# Before the group has a target for the instance, there is no such value.
until [ "$(ecs-local imds get autoscaling/target-lifecycle-state 2>/dev/null)" = Terminated ]; do
	sleep "${POLL_SECONDS:-5}"
done

result=CONTINUE
"$@" || result=ABANDON

aws autoscaling complete-lifecycle-action \
	--region "$region" \
	--instance-id "$instance" \
	--auto-scaling-group-name "$group" \
	--lifecycle-hook-name "$hook" \
	--lifecycle-action-result "$result"
