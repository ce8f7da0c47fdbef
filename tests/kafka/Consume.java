import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** Reads COUNT messages of TOPIC at BROKER as a group; prints key, value and headers of each, in base64. */
class Consume {
    public static void main(String[] arguments) {
        Map<String, Object> settings = Map.of(
            "bootstrap.servers", arguments[0], "group.id", "java", "auto.offset.reset", "earliest");
        int left = Integer.parseInt(arguments[2]);
        var bytes = new ByteArrayDeserializer();
        try (var consumer = new KafkaConsumer<>(settings, bytes, bytes)) {
            consumer.subscribe(List.of(arguments[1]));
            while (left > 0) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                    StringBuilder line = new StringBuilder(base64(record.key()) + " " + base64(record.value()));
                    for (Header header : record.headers()) {
                        line.append(' ').append(base64(header.key().getBytes(StandardCharsets.UTF_8)));
                        line.append(':').append(base64(header.value()));
                    }
                    System.out.println(line);
                    left--;
                }
            }
        }
    }

    private static String base64(byte[] bytes) {
        return Base64.getEncoder().encodeToString(bytes);
    }
}
