#!/bin/sh
# A class of Kafka with the variables that the real image's script of this name obeys.
exec java ${KAFKA_HEAP_OPTS:--Xmx256M} ${KAFKA_JVM_PERFORMANCE_OPTS} \
  -Dlog4j2.configurationFile="${KAFKA_LOG4J:-/opt/kafka/config/tools-log4j2.yaml}" \
  ${KAFKA_OPTS} -cp '/opt/kafka/libs/*' "$@"
