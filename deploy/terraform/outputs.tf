output "topic_arn" {
  description = "The value for the console's setting OPSCONSOLE_SNS_TOPICS."
  value       = aws_sns_topic.alarms.arn
}

output "alarm_names" {
  description = "The name of the alarm of each dead letter queue."
  value       = { for name, alarm in aws_cloudwatch_metric_alarm.dlq_not_empty : name => alarm.alarm_name }
}
