{{- define "dbbouncer.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* The release's name, which everything is called by. Names that begin with it have room for eleven letters more. */}}
{{- define "dbbouncer.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $both := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- default $both .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "dbbouncer.serviceAccountName" -}}
{{- default (.Values.serviceAccount.create | ternary (include "dbbouncer.fullname" .) "default") .Values.serviceAccount.name -}}
{{- end -}}

{{- define "dbbouncer.selectorLabels" -}}
app.kubernetes.io/name: {{ include "dbbouncer.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "dbbouncer.podLabels" -}}
{{ include "dbbouncer.selectorLabels" . }}
app.kubernetes.io/component: connection-pooler
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "dbbouncer.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{ include "dbbouncer.podLabels" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "dbbouncer.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Where the kubelet finds the profile, below its folder. */}}
{{- define "dbbouncer.localhostProfile" -}}
{{- $name := include "dbbouncer.fullname" . -}}
{{- $operator := .Values.seccomp.securityProfilesOperator -}}
{{- if .Values.seccomp.localhostProfile -}}
{{ .Values.seccomp.localhostProfile }}
{{- else if and $operator.enabled $operator.clusterScoped -}}
operator/{{ $name }}.json
{{- else if $operator.enabled -}}
operator/{{ .Release.Namespace }}/{{ $name }}.json
{{- else -}}
profiles/{{ $name }}.json
{{- end -}}
{{- end -}}

{{/* What the container may do: securityContext, and which system calls. */}}
{{- define "dbbouncer.securityContext" -}}
{{- $type := .Values.seccomp.type -}}
{{- $context := deepCopy .Values.securityContext -}}
{{- if eq $type "Localhost" -}}
{{- $_ := set $context "seccompProfile" (dict "type" $type "localhostProfile" (include "dbbouncer.localhostProfile" .)) -}}
{{- else if ne $type "none" -}}
{{- $_ := set $context "seccompProfile" (dict "type" $type) -}}
{{- end -}}
{{ toYaml $context }}
{{- end -}}

{{/* A time such as 30s, 500ms or 1h 30m in whole seconds, rounded up. */}}
{{- define "dbbouncer.seconds" -}}
{{- $units := dict "ms" 0.001 "msec" 0.001 "s" 1.0 "sec" 1.0 "seconds" 1.0 "second" 1.0 "m" 60.0 "min" 60.0 "minute" 60.0 "minutes" 60.0 "h" 3600.0 "hr" 3600.0 "hour" 3600.0 "hours" 3600.0 -}}
{{- $text := toString . -}}
{{- $sum := 0.0 -}}
{{- if not (regexMatch "^(0|([0-9]+ *[a-z]+ *)+)$" $text) -}}
{{- fail (printf "config.shutdown_grace: %q is no time such as 30s or 5m" $text) -}}
{{- end -}}
{{- range regexFindAll "[0-9]+ *[a-z]+" $text -1 -}}
{{- $unit := regexFind "[a-z]+" . -}}
{{- if not (hasKey $units $unit) -}}
{{- fail (printf "config.shutdown_grace: %q has a unit other than ms, s, m and h" $text) -}}
{{- end -}}
{{- $sum = addf $sum (mulf (regexFind "[0-9]+" .) (get $units $unit)) -}}
{{- end -}}
{{- ceil $sum | int -}}
{{- end -}}

{{/* How long a pod may take to end: leave the Service, drain, and stop its threads. */}}
{{- define "dbbouncer.gracePeriod" -}}
{{- if kindIs "invalid" .root.Values.terminationGracePeriodSeconds -}}
{{- add .root.Values.preStopSleepSeconds (include "dbbouncer.seconds" .config.shutdown_grace) 5 -}}
{{- else -}}
{{- int .root.Values.terminationGracePeriodSeconds -}}
{{- end -}}
{{- end -}}

{{/* The most replicas there may be. */}}
{{- define "dbbouncer.replicas" -}}
{{- .Values.autoscaling.enabled | ternary .Values.autoscaling.maxReplicas .Values.replicaCount -}}
{{- end -}}
