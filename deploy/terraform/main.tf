# An alarm for each dead letter queue, and a topic that notifies the console. ../README.md explains how to use it.
# deploy/cloudformation/dlq-alarm.yaml creates the same resources; a test keeps both equal.

terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.40"
    }
  }
}

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

resource "aws_cloudwatch_metric_alarm" "dlq_not_empty" {
  for_each = var.dlq_names

  alarm_name        = "${var.name_prefix}-${each.value}-not-empty"
  alarm_description = "Messages wait in the dead letter queue ${each.value}. SQS deletes them when its retention period is over."

  # Counts visible messages, because NumberOfMessagesSent leaves out those that SQS itself moves to the dead letter queue.
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = each.value }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 1
  datapoints_to_alarm = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  # SQS stops reporting on a queue that has been idle for hours. That is not a problem.
  treat_missing_data = "notBreaching"

  alarm_actions             = [aws_sns_topic.alarms.arn]
  ok_actions                = [aws_sns_topic.alarms.arn]
  insufficient_data_actions = [aws_sns_topic.alarms.arn]
}

# Not encrypted with the key alias/aws/sns: CloudWatch may not use that key, and its messages would be lost.
resource "aws_sns_topic" "alarms" {
  name              = "${var.name_prefix}-dlq-alarms"
  signature_version = 2
}

data "aws_iam_policy_document" "alarms_only" {
  statement {
    sid       = "AlarmsOfThisAccountMayPublish"
    effect    = "Allow"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.alarms.arn]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }

    condition {
      test     = "ArnLike"
      variable = "aws:SourceArn"
      values   = ["arn:${data.aws_partition.current.partition}:cloudwatch:${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}:alarm:${var.name_prefix}-*"]
    }
  }
}

resource "aws_sns_topic_policy" "alarms_only" {
  arn    = aws_sns_topic.alarms.arn
  policy = data.aws_iam_policy_document.alarms_only.json
}

# The console confirms the subscription by itself. It must be up at that time, and know the topic (OPSCONSOLE_SNS_TOPICS).
resource "aws_sns_topic_subscription" "console" {
  topic_arn              = aws_sns_topic.alarms.arn
  protocol               = "https"
  endpoint               = var.endpoint_url
  endpoint_auto_confirms = true
  raw_message_delivery   = false

  # By default SNS gives up after a minute, which is shorter than some restarts. This policy retries for about 45 minutes.
  delivery_policy = jsonencode({
    healthyRetryPolicy = {
      minDelayTarget     = 5
      maxDelayTarget     = 60
      numRetries         = 50
      numNoDelayRetries  = 0
      numMinDelayRetries = 2
      numMaxDelayRetries = 40
      backoffFunction    = "linear"
    }
  })
}
