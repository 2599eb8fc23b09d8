output "policy_arns" {
  description = "The policies of each role: attach them to the role of its instances, tasks or service account."
  value = {
    console = concat([aws_iam_policy.console.arn], aws_iam_policy.keys[*].arn)
    web     = concat([aws_iam_policy.web.arn], aws_iam_policy.keys[*].arn)
    worker  = concat([aws_iam_policy.worker.arn], aws_iam_policy.keys[*].arn)
  }
}
