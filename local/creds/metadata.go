package creds

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

// Metadata is what a profile of the AWS files says of the instance metadata
// service. What is empty, it does not say.
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-imds-credentials.html
type Metadata struct {
	Endpoint   string // ec2_metadata_service_endpoint
	Mode       string // ec2_metadata_service_endpoint_mode: IPv4 or IPv6
	V1Disabled bool   // ec2_metadata_v1_disabled
}

// ProfileMetadata reads a profile; empty arguments are the default profile and
// the default files. A file or a profile that is not there says nothing.
func ProfileMetadata(ctx context.Context, profile, configFile, credentialsFile string) (Metadata, error) {
	if profile == "" {
		profile = "default"
	}
	shared, err := config.LoadSharedConfigProfile(ctx, profile, func(o *config.LoadSharedConfigOptions) {
		if configFile != "" {
			o.ConfigFiles = []string{configFile}
		}
		if credentialsFile != "" {
			o.CredentialsFiles = []string{credentialsFile}
		}
	})
	var absent config.SharedConfigProfileNotExistError
	switch {
	case errors.As(err, &absent) && absent.Profile == profile: // not its source_profile
		return Metadata{}, nil
	case err != nil:
		return Metadata{}, fmt.Errorf("read profile %s: %w", profile, explainConfig(err))
	}
	m := Metadata{Endpoint: shared.EC2IMDSEndpoint}
	switch shared.EC2IMDSEndpointMode {
	case imds.EndpointModeStateIPv4:
		m.Mode = "IPv4"
	case imds.EndpointModeStateIPv6:
		m.Mode = "IPv6"
	}
	m.V1Disabled = shared.EC2IMDSv1Disabled != nil && *shared.EC2IMDSv1Disabled
	return m, nil
}
