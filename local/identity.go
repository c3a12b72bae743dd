package local

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"
)

// Identity is who credentials belong to: a session of a role, or an IAM user.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
type Identity struct {
	Partition string // aws, aws-cn, …
	Account   string // 12 digits
	RoleARN   string // of the role whose session it is; empty: a user
	Name      string // of the session, or of the user
	// SourceIdentity is what a session was given when it began, or empty.
	SourceIdentity string
}

// RoleSession returns the identity of a role's session. An ARN that is not a
// role's is Invalid.
func RoleSession(roleARN, name string) (Identity, error) {
	role, err := ParseRoleARN(roleARN)
	if err != nil {
		return Identity{}, err
	}
	part := strings.SplitN(role.ARN, ":", 6)
	return Identity{Partition: part[1], Account: part[4], RoleARN: role.ARN, Name: name}, nil
}

// ARN returns arn:aws:sts::111122223333:assumed-role/role/session, without the
// role's path, or arn:aws:iam::111122223333:user/name.
func (i Identity) ARN() string {
	if i.RoleARN == "" {
		return fmt.Sprintf("arn:%s:iam::%s:user/%s", i.Partition, i.Account, i.Name)
	}
	role := i.RoleARN[strings.LastIndexByte(i.RoleARN, '/')+1:]
	return fmt.Sprintf("arn:%s:sts::%s:assumed-role/%s/%s", i.Partition, i.Account, role, i.Name)
}

// UserID returns AROA… and the session's name, or AIDA…. The id after the
// prefix is made of the ARN, so that it stays the same.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids
func (i Identity) UserID() string {
	if i.RoleARN == "" {
		return "AIDA" + uniqueID(i.ARN())
	}
	return "AROA" + uniqueID(i.RoleARN) + ":" + i.Name
}

// uniqueID makes the 17 characters that follow the prefix of a unique id.
func uniqueID(arn string) string {
	sum := sha256.Sum256([]byte(arn))
	return base32.StdEncoding.EncodeToString(sum[:])[:17]
}
