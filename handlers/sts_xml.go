package handlers

import (
	"encoding/xml"

	"github.com/ecs-local/ecs-local/local"
)

// The documents of STS.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html#API_AssumeRole_Examples

const stsNamespace = "https://sts.amazonaws.com/doc/2011-06-15/"

type callerIdentityResult struct {
	XMLName xml.Name `xml:"GetCallerIdentityResult"`
	Arn     string
	UserID  string `xml:"UserId"`
	Account string
}

type accessKeyInfoResult struct {
	XMLName xml.Name `xml:"GetAccessKeyInfoResult"`
	Account string
}

type assumeRoleResult struct {
	XMLName          xml.Name `xml:"AssumeRoleResult"`
	SourceIdentity   string   `xml:",omitempty"`
	AssumedRoleUser  assumedRoleUser
	Credentials      stsCredentials
	PackedPolicySize *int // percent of what a policy may take; absent without one
	SessionTokenSize int  // bytes
}

type assumedRoleUser struct {
	Arn           string
	AssumedRoleID string `xml:"AssumedRoleId"`
}

type stsCredentials struct {
	AccessKeyID     string `xml:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string
	Expiration      string // RFC 3339, UTC, whole seconds
}

// newSTSDocument wraps the result of an action.
func newSTSDocument(requestID, action string, result any) plain {
	return encodeXML(struct {
		XMLName   xml.Name
		Result    any
		RequestID string `xml:"ResponseMetadata>RequestId"`
	}{xml.Name{Space: stsNamespace, Local: action + "Response"}, result, requestID})
}

type stsError struct {
	XMLName   xml.Name
	Type      string `xml:"Error>Type"`
	Code      string `xml:"Error>Code"`
	Message   string `xml:"Error>Message"`
	RequestID string `xml:"RequestId"`
}

// stsDialect is that of STS, for one request.
func stsDialect(requestID string) dialect {
	return dialect{
		family: "sts",
		status: httpStatus,
		body: func(_ int, err error) any {
			return encodeXML(stsError{
				XMLName: xml.Name{Space: stsNamespace, Local: "ErrorResponse"},
				Type:    "Sender", Code: errorName(err), Message: local.MessageOf(err), RequestID: requestID,
			})
		},
	}
}

// encodeXML encodes a document of STS, which is made of strings and numbers
// alone and so always encodes.
func encodeXML(document any) plain {
	body, _ := xml.MarshalIndent(document, "", "  ")
	return plain{contentType: "text/xml", bytes: append(body, '\n')}
}
