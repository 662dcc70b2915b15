{{/* On which nodes the pods run. */}}
{{- define "dbbouncer.placement" -}}
{{- $affinity := deepCopy .Values.affinity }}
{{- if and (ne .Values.podAntiAffinity "none") (not (hasKey $affinity "podAntiAffinity")) }}
{{- $apart := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" (include "dbbouncer.selectorLabels" . | fromYaml)) }}
{{- if eq .Values.podAntiAffinity "hard" }}
{{- $_ := set $affinity "podAntiAffinity" (dict "requiredDuringSchedulingIgnoredDuringExecution" (list $apart)) }}
{{- else }}
{{- $_ := set $affinity "podAntiAffinity" (dict "preferredDuringSchedulingIgnoredDuringExecution" (list (dict "weight" 100 "podAffinityTerm" $apart))) }}
{{- end }}
{{- end }}
{{- with $affinity -}}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if kindIs "invalid" .Values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "dbbouncer.selectorLabels" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- else if .Values.topologySpreadConstraints }}
topologySpreadConstraints: {{- toYaml .Values.topologySpreadConstraints | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- end -}}

{{- define "dbbouncer.env" -}}
{{- $values := .root.Values -}}
{{- $own := eq $values.secrets.as "env" | ternary .taken list -}}
{{- if or $own $values.extraEnv -}}
env:
  {{- range $own }}
  - name: {{ .variable }}
    valueFrom:
      secretKeyRef: {name: {{ .secret }}, key: {{ .key }}}
  {{- end }}
  {{- with $values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- with $values.extraEnvFrom }}
envFrom: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* A question to DBBouncer by HTTP, or from within where no port is open to the kubelet. */}}
{{- define "dbbouncer.probe" -}}
{{- if int .config.listen.metrics_port -}}
httpGet: {path: {{ .path }}, port: metrics}
{{- else -}}
exec:
  command: [/usr/bin/dbbouncer, healthcheck, --config, /etc/dbbouncer/config.yaml{{ if eq .path "/ready" }}, --ready{{ end }}]
{{- end }}
{{- with .more }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "dbbouncer.volumeMounts" -}}
- {name: config, mountPath: /etc/dbbouncer, readOnly: true}
{{- if .Values.tls.enabled }}
- {name: tls, mountPath: /etc/dbbouncer-tls, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
Config and secrets are one volume, so that the kubelet changes both in one step. Secrets of the chart's making are there as a
whole, whether there are any or not: a tenant more is no reason for other pods. Whoever comes later goes before.
*/}}
{{- define "dbbouncer.volumes" -}}
{{- $name := include "dbbouncer.fullname" .root -}}
{{- $secrets := .root.Values.secrets -}}
- name: config
  {{- if eq $secrets.as "files" }}
  projected:
    defaultMode: 0440
    sources:
      {{- with $secrets.existingSecret }}
      - secret: {name: {{ . }}}
      {{- end }}
      - secret: {name: {{ $name }}, optional: true}
      {{- range .taken }}
      {{- if or (not (has .secret (list $name $secrets.existingSecret))) (ne .key .at) }}
      - secret:
          name: {{ .secret }}
          items:
            - {key: {{ .key | quote }}, path: {{ .at | quote }}}
      {{- end }}
      {{- end }}
      - configMap: {name: {{ $name }}}
  {{- else }}
  configMap: {name: {{ $name }}}
  {{- end }}
{{- if .root.Values.tls.enabled }}
- name: tls
  secret: {secretName: {{ include "dbbouncer.tlsSecret" .root }}, defaultMode: 0440}
{{- end }}
{{- with .root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
