package godwit.tests;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.PrintStream;
import java.util.LinkedHashMap;
import java.util.Map;

/** What the harness says: one JSON object a line, never two mixed. */
final class Output {
    private static final ObjectMapper MAPPER = new ObjectMapper();

    private final PrintStream stream;

    Output(PrintStream stream) {
        this.stream = stream;
    }

    /** The answer to a command: {"answer": number, "value": …} or {"answer": number, "error": …}. */
    void answer(String number, String key, Object value) {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("answer", Long.parseLong(number));
        line.put(key, value);
        print(line);
    }

    /** Something that happened to a client: {"client": …, "event": …, further fields}. */
    void event(String client, String event, Object... fields) {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("client", client);
        line.put("event", event);
        for (int i = 0; i < fields.length; i += 2) {
            line.put((String) fields[i], fields[i + 1]);
        }
        print(line);
    }

    private synchronized void print(Map<String, Object> line) {
        try {
            stream.println(MAPPER.writeValueAsString(line));
            stream.flush();
        } catch (JsonProcessingException e) {
            throw new IllegalStateException(e);
        }
    }
}
