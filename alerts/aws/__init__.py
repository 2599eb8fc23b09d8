"""CloudWatch alarms and other messages from Amazon SNS."""
